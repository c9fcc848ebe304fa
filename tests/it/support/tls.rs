//! Authorities, certificates, and a client that speaks TLS with its own eyes open: what was settled on, what it was shown.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};

use super::DEADLINE;

/// Somebody who vouches for certificates.
pub(crate) struct Authority {
    /// Its own certificate.
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// What stands in the certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("a certificate")
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate of a server for these names.
    pub(crate) fn server(&self, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(CertificateParams::new(names).expect("names"))
    }

    /// One that ended in 2020.
    pub(crate) fn expired_server(&self, names: &[&str]) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        expire(&mut params);
        self.sign(params)
    }

    /// A certificate of a client with these subject alternative names.
    pub(crate) fn client(&self, names: Vec<SanType>) -> Pair {
        self.sign(client(names))
    }

    /// One that ended in 2020.
    pub(crate) fn expired_client(&self, names: Vec<SanType>) -> Pair {
        let mut params = client(names);
        expire(&mut params);
        self.sign(params)
    }

    /// Signs what is asked for.
    pub(crate) fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

fn client(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.subject_alt_names = names;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "a client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn expire(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 1);
}

/// A client that speaks TLS. It believes every certificate, and tells which one it was shown.
#[derive(Clone, Debug)]
pub(crate) struct TlsCaller {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl TlsCaller {
    /// Calls `address`, with what TLS there is.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self::with(address, &[&rustls::version::TLS13, &rustls::version::TLS12], &[], None)
    }

    /// Speaks these versions and protocols, and shows this certificate.
    pub(crate) fn with(
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        shown: Option<&Pair>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous));
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![pair.der()], key).expect("certificate and key")
            }
        };
        config.enable_early_data = true;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self { address, config: Arc::new(config) }
    }

    /// A connection for `name`; an address: no name is told.
    pub(crate) fn connect(&self, name: &str) -> io::Result<Secure> {
        let name = ServerName::try_from(name.to_owned()).expect("a name or an address");
        let client = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        let socket = TcpStream::connect(self.address)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(client, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secure(stream))
    }

    /// Whether the next connection for `name` could begin with data that the server takes before the handshake is over.
    pub(crate) fn could_hurry(&self, name: &str) -> bool {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.config), name).expect("a client");
        client.early_data().is_some()
    }

    /// A connection for `name`, and the status of a request for `host` over it. An error: the connection was refused.
    pub(crate) fn get(&self, name: &str, host: &str, path: &str) -> io::Result<u16> {
        self.connect(name)?.get(host, path).map(|answer| answer.status)
    }
}

/// A connection over TLS.
#[derive(Debug)]
pub(crate) struct Secure(StreamOwned<ClientConnection, TcpStream>);

/// An answer over TLS.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Secure {
    /// The certificate that it was shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let shown = self.0.conn.peer_certificates().and_then(<[_]>::first).expect("a certificate");
        shown.clone().into_owned()
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.0.conn.protocol_version().expect("after the handshake")
    }

    pub(crate) fn protocol(&self) -> Option<&str> {
        self.0.conn.alpn_protocol().map(|protocol| std::str::from_utf8(protocol).expect("ASCII"))
    }

    pub(crate) fn resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends a GET request and reads its answer, whose length must be told.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    }

    /// Waits for bytes, and says how many came; 0: the other side has said goodbye.
    pub(crate) fn read(&mut self) -> io::Result<usize> {
        self.0.read(&mut [0; 1024])
    }

    /// Sends bytes and reads an answer.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.0.write_all(request)?;
        self.0.flush()?;
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            read.push(byte[0]);
        }
        let head = String::from_utf8(read).expect("ASCII").to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, head, body: String::from_utf8(body).expect("UTF-8") })
    }
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
