//! A server inside a program: on the program's runtime, with the program's paths.

use singletrack::io::Io;
use singletrack::queues::{Isolated, Runtime};
use singletrack::{Conn, Echo, Error, Handler, Message, Server};
use singletrack_test_client::{Client, DEADLINE, get};

use crate::serve;

struct Counts(Isolated<u64>);

impl Handler for Counts {
    fn message(&mut self, conn: &Conn, _: Message) {
        let conn = conn.clone();
        self.0.submit(move |count| {
            *count += 1;
            conn.send_text(&format!("{count} so far"));
        });
    }
}

#[test]
fn a_server_shares_the_runtime_of_the_program_and_leaves_it_running() {
    let io = Io::new(2).expect("pollers");
    let runtime = Runtime::builder().workers(2).name("program").parkers(io.parkers()).build().expect("a few threads");
    let count = Isolated::new(&runtime.queue("count"), 0);
    let shared = count.clone();
    let server = serve(|b| b.runtime(&runtime).handler("/count", move |_| Counts(shared.clone())));
    assert_eq!(*server.runtime(), runtime);
    let mut client = Client::open(server.local_addr(), "/count");
    for n in 1..=3 {
        client.send_text("x");
        assert_eq!(client.text(), format!("{n} so far"));
    }
    let reader = std::thread::spawn(move || client.closed());
    let report = server.shutdown(DEADLINE);
    assert_eq!((report.cut_off, report.orderly), (0, true));
    assert!(report.runtime.is_none(), "it is not the server's to end");
    assert_eq!(reader.join().expect("a client"), 1001);
    let block = count.call(|count| *count);
    assert_eq!(block.wait().ok(), Some(3), "the program goes on");
    assert_eq!(runtime.shutdown(DEADLINE).dropped, 0);
}

#[test]
fn a_runtime_without_pollers_is_refused_by_its_name() {
    let runtime = Runtime::builder().workers(1).name("plain").build().expect("a few threads");
    let refused = Server::builder().listen("127.0.0.1:0").runtime(&runtime).build();
    let error = refused.expect_err("it watches no sockets");
    assert!(matches!(&error, Error::NoPollers { name } if name == "plain"));
    assert!(error.to_string().contains("`plain`") && error.to_string().contains("parkers"), "{error}");
}

#[test]
fn a_bare_server_serves_what_was_added_only() {
    let server = serve(|b| b.handler("/before", |_| Echo).bare().handler("/after", |_| Echo));
    for path in ["/", "/healthz", "/metrics", "/echo", "/room/lobby"] {
        assert_eq!(get(server.local_addr(), path).status, 404, "{path}");
    }
    for path in ["/before", "/after"] {
        let mut client = Client::open(server.local_addr(), path);
        client.send_text("x");
        assert_eq!(client.text(), "x", "{path}");
    }
    let paged = serve(|b| b.bare().page("<!doctype html><p>mine"));
    assert_eq!(get(paged.local_addr(), "/").body, "<!doctype html><p>mine");
}
