//! A server on loopback that plays a model's, connection by connection, with or without TLS.

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A connection.
pub(crate) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// What is done with one connection after its request was read.
pub(crate) type Reply = Box<dyn FnOnce(&mut dyn Wire) + Send>;

/// A server that gives each connection the next of its replies, and then none.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        Server::serve(replies, None)
    }

    /// The same with TLS.
    pub(crate) fn start_tls(replies: Vec<Reply>, tls: Arc<ServerConfig>) -> Self {
        Server::serve(replies, Some(tls))
    }

    fn serve(replies: Vec<Reply>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for reply in replies {
                let Some(stream) = accept(&listener, &stopped) else {
                    break;
                };
                requests.push(converse(stream, tls.as_ref(), reply));
            }
            requests
        });
        Server {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its API.
    pub(crate) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests that came, in order.
    pub(crate) fn requests(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().unwrap();
        thread.join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// The next connection, unless nobody waits for one any more.
fn accept(listener: &TcpListener, stop: &AtomicBool) -> Option<TcpStream> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(stream);
            }
            Err(_) if stop.load(Ordering::SeqCst) => return None,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Reads a request and replies; the request, or what there was of it.
fn converse(mut stream: TcpStream, tls: Option<&Arc<ServerConfig>>, reply: Reply) -> String {
    let Some(tls) = tls else {
        let request = read_request(&mut stream);
        reply(&mut stream);
        return request;
    };
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), stream);
    let request = read_request(&mut stream);
    reply(&mut stream);
    stream.conn.send_close_notify();
    let _ = stream.flush();
    request
}

/// A whole request, or what there is of it before the other side goes away.
pub(crate) fn read_request(stream: &mut dyn Read) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("content-length: ").map_or("0", |(_, length)| length);
            let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
            if bytes.len() >= head.len() + 4 + length {
                break;
            }
        }
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends these bytes. The client may hang up on what it does not want to read to the end.
pub(crate) fn sending(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Box::new(move |wire| {
        let _ = wire.write_all(&bytes);
    })
}

/// A response with its length.
pub(crate) fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut reply = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    reply.extend_from_slice(body);
    reply
}

/// A private authority, and the certificate of a server for some names.
pub(crate) struct Authority {
    /// Its own certificate, in PEM.
    pub(crate) pem: String,
    /// What its server uses.
    pub(crate) server: Arc<ServerConfig>,
}

impl Authority {
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Authority {
            pem: authority.pem(),
            server: Arc::new(server),
        }
    }
}
