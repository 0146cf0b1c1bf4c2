//! TLS.

use crate::config::property::Scope::PerBroker;
use crate::config::property::{Property, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Class, List, Password, String};

pub(super) const ROWS: &[Property] = &[
    broker("ssl.allow.dn.changes", Boolean, "false")
        .not_yet("Whether a new key store may have another distinguished name."),
    broker("ssl.allow.san.changes", Boolean, "false")
        .not_yet("Whether a new key store may have other alternative names."),
    broker("ssl.cipher.suites", List, "")
        .valid(Valid::ITEMS)
        .dynamic(PerBroker)
        .not_yet("Cipher suites that are offered; all of the library's where empty."),
    broker("ssl.client.auth", String, "none")
        .one_of(&["required", "requested", "none"])
        .dynamic(PerBroker)
        .not_yet("Whether clients must, may or need not show a certificate."),
    broker("ssl.enabled.protocols", List, "TLSv1.2,TLSv1.3")
        .valid(Valid::ITEMS)
        .dynamic(PerBroker)
        .not_yet("TLS versions that are offered."),
    broker("ssl.endpoint.identification.algorithm", String, "https")
        .dynamic(PerBroker)
        .not_yet("How the name of the other side is checked; empty does not check it."),
    broker_unset("ssl.engine.factory.class", Class)
        .dynamic(PerBroker)
        .moot("Java class that makes TLS engines."),
    broker_unset("ssl.key.password", Password)
        .dynamic(PerBroker)
        .not_yet("Password of the private key."),
    broker("ssl.keymanager.algorithm", String, "SunX509")
        .dynamic(PerBroker)
        .moot("Java's algorithm of the key manager."),
    broker_unset("ssl.keystore.certificate.chain", Password)
        .dynamic(PerBroker)
        .not_yet("Certificate chain, in PEM form."),
    broker_unset("ssl.keystore.key", Password)
        .dynamic(PerBroker)
        .not_yet("Private key, in PEM form."),
    broker_unset("ssl.keystore.location", String)
        .dynamic(PerBroker)
        .not_yet("File with key and certificate."),
    broker_unset("ssl.keystore.password", Password)
        .dynamic(PerBroker)
        .not_yet("Password of that file."),
    broker("ssl.keystore.type", String, "JKS")
        .dynamic(PerBroker)
        .not_yet("Format of that file."),
    broker("ssl.principal.mapping.rules", String, "DEFAULT")
        .not_yet("Rules that turn a certificate's name into a principal."),
    broker("ssl.protocol", String, "TLSv1.3")
        .dynamic(PerBroker)
        .not_yet("TLS version that is preferred."),
    broker_unset("ssl.provider", String)
        .dynamic(PerBroker)
        .moot("Java's provider of TLS."),
    broker_unset("ssl.secure.random.implementation", String)
        .dynamic(PerBroker)
        .moot("Java's source of randomness for TLS."),
    broker("ssl.trustmanager.algorithm", String, "PKIX")
        .dynamic(PerBroker)
        .moot("Java's algorithm of the trust manager."),
    broker_unset("ssl.truststore.certificates", Password)
        .dynamic(PerBroker)
        .not_yet("Trusted certificates, in PEM form."),
    broker_unset("ssl.truststore.location", String)
        .dynamic(PerBroker)
        .not_yet("File with trusted certificates."),
    broker_unset("ssl.truststore.password", Password)
        .dynamic(PerBroker)
        .not_yet("Password of that file."),
    broker("ssl.truststore.type", String, "JKS")
        .dynamic(PerBroker)
        .not_yet("Format of that file."),
];
