//! Authorization, delegation tokens and SASL.

use crate::config::property::Scope::PerBroker;
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{
    Boolean, Class, Double, Int, List, Long, Password, Short, String,
};

pub(super) const ROWS: &[Property] = &[
    broker("authorizer.class.name", String, "").not_yet(
        "The authorizer. Corelog checks no permissions yet: every client may do \
             everything.",
    ),
    broker("delegation.token.expiry.check.interval.ms", Long, "3600000")
        .at_least(1)
        .ms()
        .not_yet("How often expired delegation tokens are looked for."),
    broker("delegation.token.expiry.time.ms", Long, "86400000")
        .at_least(1)
        .ms()
        .not_yet("Time after which a delegation token must have been renewed."),
    broker("delegation.token.max.lifetime.ms", Long, "604800000")
        .at_least(1)
        .ms()
        .not_yet("Longest life of a delegation token."),
    broker_unset("delegation.token.secret.key", Password)
        .not_yet("Secret that signs delegation tokens."),
    broker(
        "principal.builder.class",
        Class,
        "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
    )
    .dynamic(PerBroker)
    .moot("Java class that makes the principal of a connection."),
    broker_unset("security.providers", String).moot("Java security providers."),
    broker_unset("sasl.client.callback.handler.class", Class)
        .moot("Java class of a client's SASL callbacks."),
    broker("sasl.enabled.mechanisms", List, "GSSAPI")
        .valid(Valid::ITEMS)
        .dynamic(PerBroker)
        .not_yet("SASL mechanisms that are offered."),
    broker_unset("sasl.jaas.config", Password)
        .dynamic(PerBroker)
        .not_yet("Login context of SASL, in JAAS form."),
    broker("sasl.kerberos.kinit.cmd", String, "/usr/bin/kinit")
        .dynamic(PerBroker)
        .moot("Path of kinit."),
    broker("sasl.kerberos.min.time.before.relogin", Long, "60000")
        .dynamic(PerBroker)
        .moot("Least time between two Kerberos logins."),
    broker("sasl.kerberos.principal.to.local.rules", List, "DEFAULT")
        .valid(Valid::ITEMS)
        .dynamic(PerBroker)
        .not_yet("Rules that turn Kerberos principals into short names."),
    broker_unset("sasl.kerberos.service.name", String)
        .dynamic(PerBroker)
        .not_yet("Kerberos principal the broker runs as."),
    broker("sasl.kerberos.ticket.renew.jitter", Double, "0.05")
        .dynamic(PerBroker)
        .moot("Random share by which the renewal of a ticket varies."),
    broker("sasl.kerberos.ticket.renew.window.factor", Double, "0.8")
        .dynamic(PerBroker)
        .moot("Share of a ticket's life after which it is renewed."),
    broker_unset("sasl.login.callback.handler.class", Class)
        .moot("Java class of SASL login callbacks."),
    broker_unset("sasl.login.class", Class).moot("Java class of the SASL login."),
    broker_unset("sasl.login.connect.timeout.ms", Int)
        .ms()
        .not_yet("Time allowed to connect to an external login service."),
    broker_unset("sasl.login.read.timeout.ms", Int)
        .ms()
        .not_yet("Time allowed for the answer of an external login service."),
    broker("sasl.login.refresh.buffer.seconds", Short, "300")
        .unit(Unit::Seconds)
        .dynamic(PerBroker)
        .not_yet("Time before its expiry by which a credential is refreshed."),
    broker("sasl.login.refresh.min.period.seconds", Short, "60")
        .unit(Unit::Seconds)
        .dynamic(PerBroker)
        .not_yet("Least time between two refreshes of a credential."),
    broker("sasl.login.refresh.window.factor", Double, "0.8")
        .dynamic(PerBroker)
        .not_yet("Share of a credential's life after which it is refreshed."),
    broker("sasl.login.refresh.window.jitter", Double, "0.05")
        .dynamic(PerBroker)
        .not_yet("Random share by which that refresh varies."),
    broker("sasl.login.retry.backoff.max.ms", Long, "10000")
        .ms()
        .not_yet("Longest pause before a failed login is tried again."),
    broker("sasl.login.retry.backoff.ms", Long, "100")
        .ms()
        .not_yet("Pause before a failed login is tried again."),
    broker("sasl.mechanism.controller.protocol", String, "GSSAPI")
        .not_yet("SASL mechanism between brokers and controllers."),
    broker("sasl.mechanism.inter.broker.protocol", String, "GSSAPI")
        .dynamic(PerBroker)
        .not_yet("SASL mechanism between brokers."),
    broker("sasl.oauthbearer.assertion.algorithm", String, "RS256")
        .valid(Valid::OneOfAnyCase(&["ES256", "RS256"]))
        .not_yet("Signature of the assertions sent to a token service."),
    broker_unset("sasl.oauthbearer.assertion.claim.aud", String)
        .not_yet("Audience claim of those assertions."),
    broker("sasl.oauthbearer.assertion.claim.exp.seconds", Int, "300")
        .between(0, 86400)
        .unit(Unit::Seconds)
        .not_yet("Life of those assertions."),
    broker_unset("sasl.oauthbearer.assertion.claim.iss", String)
        .not_yet("Issuer claim of those assertions."),
    broker(
        "sasl.oauthbearer.assertion.claim.jti.include",
        Boolean,
        "false",
    )
    .not_yet("Whether those assertions carry a unique id."),
    broker("sasl.oauthbearer.assertion.claim.nbf.seconds", Int, "60")
        .between(0, 3600)
        .unit(Unit::Seconds)
        .not_yet("How far before now those assertions begin to be valid."),
    broker_unset("sasl.oauthbearer.assertion.claim.sub", String)
        .not_yet("Subject claim of those assertions."),
    broker_unset("sasl.oauthbearer.assertion.file", String)
        .not_yet("File with an assertion made beforehand."),
    broker_unset("sasl.oauthbearer.assertion.private.key.file", String)
        .not_yet("File with the key that signs assertions."),
    broker_unset(
        "sasl.oauthbearer.assertion.private.key.passphrase",
        Password,
    )
    .not_yet("Passphrase of that key."),
    broker_unset("sasl.oauthbearer.assertion.template.file", String)
        .not_yet("File with further claims of the assertions."),
    broker_unset("sasl.oauthbearer.client.credentials.client.id", String)
        .not_yet("Client id for the token service."),
    broker_unset(
        "sasl.oauthbearer.client.credentials.client.secret",
        Password,
    )
    .not_yet("Client secret for the token service."),
    broker("sasl.oauthbearer.clock.skew.seconds", Int, "30")
        .unit(Unit::Seconds)
        .not_yet("Difference of clocks that is forgiven when tokens are checked."),
    broker("sasl.oauthbearer.expected.audience", List, "")
        .valid(Valid::ITEMS)
        .not_yet("Audiences a token may be meant for."),
    broker_unset("sasl.oauthbearer.expected.issuer", String)
        .not_yet("Issuer a token must come from."),
    broker("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, "3600000")
        .ms()
        .not_yet("How often the keys of the token service are fetched anew."),
    broker(
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
        Long,
        "10000",
    )
    .ms()
    .not_yet("Longest pause before a failed fetch of keys is tried again."),
    broker(
        "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
        Long,
        "100",
    )
    .ms()
    .not_yet("Pause before a failed fetch of keys is tried again."),
    broker_unset("sasl.oauthbearer.jwks.endpoint.url", String)
        .not_yet("Where the keys of the token service are found."),
    broker(
        "sasl.oauthbearer.jwt.retriever.class",
        Class,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
    )
    .moot("Java class that fetches tokens."),
    broker(
        "sasl.oauthbearer.jwt.validator.class",
        Class,
        "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator",
    )
    .moot("Java class that checks tokens."),
    broker_unset("sasl.oauthbearer.scope", String).not_yet("Scope that is asked for."),
    broker("sasl.oauthbearer.scope.claim.name", String, "scope")
        .not_yet("Name of the claim that holds the scope."),
    broker("sasl.oauthbearer.sub.claim.name", String, "sub")
        .not_yet("Name of the claim that holds the subject."),
    broker_unset("sasl.oauthbearer.token.endpoint.url", String).not_yet("Where tokens are issued."),
    broker_unset("sasl.server.callback.handler.class", Class)
        .moot("Java class of the broker's SASL callbacks."),
    broker("sasl.server.max.receive.size", Int, "524288")
        .bytes()
        .not_yet("Largest message of a SASL exchange."),
];
