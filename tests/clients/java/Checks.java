import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** Named checks in one process: a line for each, then the count that tests/clients.rs reads. */
final class Checks {
    interface Body {
        void run() throws Exception;
    }

    private final String suite;
    private final String[] wanted;
    private int passed;
    private int failed;

    Checks(String suite, String... wanted) {
        this.suite = suite;
        this.wanted = wanted;
    }

    /** A topic's name that no other run uses. */
    String topic(String label) {
        return suite + "-" + label + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    void check(String name, Body body) {
        if (wanted.length > 0 && java.util.Arrays.stream(wanted).noneMatch(name::contains)) {
            return;
        }
        long begin = System.nanoTime();
        try {
            body.run();
            passed++;
            System.out.printf("ok %s (%.1f s)%n", name, (System.nanoTime() - begin) / 1e9);
        } catch (Throwable e) {
            failed++;
            System.out.println("FAIL " + name);
            e.printStackTrace(System.out);
        }
    }

    void finish() {
        System.out.printf("%s: %d passed, %d failed, 0 skipped%n", suite, passed, failed);
        System.out.flush();
        Runtime.getRuntime().halt(failed > 0 ? 1 : 0);
    }

    static void equal(Object seen, Object wanted, String what) {
        if (!Objects.deepEquals(seen, wanted)) {
            throw new AssertionError(what + ": expected " + wanted + ", saw " + seen);
        }
    }

    static void that(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    /** Runs a call that must fail with this exception, bare or as the cause of another. */
    static <E extends Throwable> E refused(Class<E> kind, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Exception e) {
            Throwable cause = e;
            while ((cause instanceof ExecutionException || cause instanceof CompletionException)
                    && cause.getCause() != null) {
                cause = cause.getCause();
            }
            if (kind.isInstance(cause)) {
                return kind.cast(cause);
            }
            throw e;
        }
        throw new AssertionError("expected " + kind.getSimpleName());
    }

    /** Metadata reaches clients a moment after an administrative call returns, in Kafka too. */
    static void eventually(Callable<Boolean> condition, String what) throws Exception {
        for (int i = 0; i < 1200; i++) {
            if (condition.call()) {
                return;
            }
            Thread.sleep(50);
        }
        throw new AssertionError("not within a minute: " + what);
    }
}
