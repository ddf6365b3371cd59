//! What is not the Redis that was meant: said in the log, and never believed.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::redis_forms::{complains, ready, statuses};
use crate::support::{Redis, own_loopback_address};

/// Where every connection gets `reply` as soon as it has said anything; with `None` never.
async fn stranger(reply: Option<String>) -> SocketAddr {
    let listener = TcpListener::bind((own_loopback_address(), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(reply) = &reply {
                let mut said = [0; 4096];
                let read = stream.read(&mut said).await;
                let _ = (read, stream.write_all(reply.as_bytes()).await);
            }
            open.push(stream);
        }
    });
    address
}

/// A Sentinel that names `master`: what it answers to a name, a library, its version, and the question.
async fn sentinel_naming(master: SocketAddr) -> SocketAddr {
    let (host, port) = (master.ip().to_string(), master.port().to_string());
    let named = format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len());
    stranger(Some(format!("{}{named}", "+OK\r\n".repeat(3)))).await
}

#[tokio::test]
async fn a_sentinel_that_still_names_the_old_master_is_not_believed() {
    let master = Redis::start().await;
    let replica = Redis::replica_of(&master).await;
    let (stale, fresh) = (sentinel_naming(replica.address()).await, sentinel_naming(master.address()).await);
    complains(&[("STORE", &format!("redis+sentinel://{stale}/main"))], "no master any more but a `slave`")
        .await;
    let (_rules, server) = ready(&[("STORE", &format!("redis+sentinel://{stale},{fresh}/main"))]).await;
    assert_eq!(statuses(&server, "alice", 4).await, [200, 200, 200, 429]);
}

#[tokio::test]
async fn one_sentinel_of_several_is_enough() {
    let master = Redis::start().await;
    let gone = crate::support::free_address();
    let (silent, fresh) = (stranger(None).await, sentinel_naming(master.address()).await);
    let url = format!("redis+sentinel://{gone},{silent},{fresh}/main");
    let (_rules, server) = ready(&[("STORE", &url), ("REDIS__CONNECT_TIMEOUT_MS", "300")]).await;
    assert_eq!(statuses(&server, "alice", 1).await, [200]);
}

#[tokio::test]
async fn a_server_that_says_nothing_or_nonsense_is_no_redis() {
    let silent = format!("redis://{}", stranger(None).await);
    complains(&[("STORE", &silent), ("REDIS__CONNECT_TIMEOUT_MS", "300")], "no answer within 300 ms").await;
    for nonsense in ["HTTP/1.1 400 Bad Request\r\n\r\n", "*1000000000\r\n", "$-7\r\n", "\r\n"] {
        let url = format!("redis://{}", stranger(Some(nonsense.to_owned())).await);
        let settings = [("STORE", url.as_str()), ("REDIS__CONNECT_TIMEOUT_MS", "300")];
        complains(&settings, "the store is unavailable: redis at").await;
    }
    let nobody = crate::support::free_address();
    complains(&[("STORE", &format!("redis://{nobody}"))], "Connection refused").await;
    complains(&[("STORE", "redis://nobody.invalid")], "redis at nobody.invalid:6379: ").await;
}
