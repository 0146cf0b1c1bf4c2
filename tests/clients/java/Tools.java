import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.apache.kafka.common.utils.Exit;

/**
 * Runs Apache Kafka's command-line tools: their main methods, called in one process (a JVM takes seconds to start), with
 * their output captured and their exit turned into an exception.
 */
final class Tools {
    private Tools() {
    }

    /** To be called first. */
    static void capture() {
        Exit.setExitProcedure((status, message) -> exit(status));
        Exit.setHaltProcedure((status, message) -> exit(status));
        Exit.setShutdownHookAdder((name, hook) -> atExit.add(hook));
    }

    /** What a tool ended with and printed on both streams. */
    record Outcome(int status, String said) {
        List<String> lines() {
            return said.lines().map(String::trim).filter(line -> !line.isEmpty()).toList();
        }

        void contains(String... parts) {
            for (String part : parts) {
                Checks.that(said.contains(part), "no '" + part + "' in:\n" + said);
            }
        }
    }

    private static final class Exited extends RuntimeException {
    }

    /** What a tool wants done when its process ends: producers flush there. */
    private static final List<Runnable> atExit = new ArrayList<>();

    /** Some tools exit within a try block and then again because of the exception: their first word counts. */
    private static Integer exited;

    private static void exit(int status) {
        exited = exited == null ? status : exited;
        throw new Exited();
    }

    static Outcome tool(String name, String input, String... args) throws Exception {
        PrintStream out = System.out;
        PrintStream err = System.err;
        InputStream in = System.in;
        ByteArrayOutputStream said = new ByteArrayOutputStream();
        PrintStream both = new PrintStream(said, true, StandardCharsets.UTF_8);
        System.setOut(both);
        System.setErr(both);
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        int status = 0;
        exited = null;
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException e) {
            if (!(e.getCause() instanceof Exited)) {
                e.getCause().printStackTrace(both);
                status = 1;
            }
        } finally {
            atExit.forEach(Runnable::run);
            atExit.clear();
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
        }
        both.flush();
        return new Outcome(exited == null ? status : exited, said.toString(StandardCharsets.UTF_8));
    }

    static String[] concat(String[] a, String[] b) {
        String[] all = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, all, a.length, b.length);
        return all;
    }
}
