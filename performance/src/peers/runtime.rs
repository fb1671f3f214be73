//! The runtime of the peers that use tokio: as many workers as the process may use cores.
//!
//! With one core it is tokio's runtime for one thread, which is faster there.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use super::handshake;

/// Accepts for ever, and runs `connection` for each in a task of its own.
pub(crate) fn serve<F>(address: SocketAddr, connection: impl Fn(TcpStream) -> F + 'static) -> std::io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    run(async {
        let listener = TcpListener::from_std(handshake::listen(address)?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream));
        }
    })
}

/// Runs `all` until it ends.
pub(crate) fn run<T>(all: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let one = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if one { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_io().build()?.block_on(all)
}
