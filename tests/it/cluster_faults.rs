//! Redis Cluster while slots move, connections break and nodes die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fluxlimit::limit::Algorithm;
use fluxlimit::store::StoreError;

use crate::cluster::{ask, borrowed, flood, left, limit, request, slot, spread, store};
use crate::support::{Cluster, Cutter, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_before_the_answer_charges_once() {
    let cutters = [Cutter::listen().await, Cutter::listen().await, Cutter::listen().await];
    let announced = |index: u16| {
        let port = cutters[usize::from(index)].address().port().to_string();
        vec!["--cluster-announce-port".to_owned(), port]
    };
    let cluster = Cluster::with_each(announced).await;
    for (cutter, node) in cutters.iter().zip(&cluster.nodes) {
        cutter.lead_to(node.address());
    }
    let store = store(&cluster);
    let limits = [limit(Algorithm::TokenBucket, 100), limit(Algorithm::FixedWindow, 100)];
    let counters = spread(&limits);
    let (first, both) = (request(&borrowed(&counters[..1])), request(&borrowed(&counters)));
    assert!(ask(&store, &both).await.is_ok());
    let mut charged = [1, 1];
    for (asked, cut, charges) in
        [(&first, 0, [1, 0]), (&both, 0, [1, 0]), (&both, 1, [1, 1]), (&first, 0, [1, 0]), (&both, 1, [1, 1])]
    {
        cutters[cut].cut(1);
        let lost = ask(&store, asked).await.unwrap_err();
        assert!(matches!(lost, StoreError::Lost { .. }), "{lost:?}");
        assert_eq!(cutters[cut].cuts_left(), 0);
        // What was on its way when the connection broke was booked, once; what would have followed was not.
        for (index, more) in charges.into_iter().enumerate() {
            charged[index] += more;
            let counter = (counters[index].0.as_str(), limits[index]);
            assert_eq!(left(&store, counter).await, 100 - charged[index], "{asked:?} cut at {cut}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_cost_no_hit_and_no_error() {
    let cluster = Cluster::start().await;
    let store = Arc::new(store(&cluster));
    let limits = [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow]
        .map(|of| limit(of, 1_400_000));
    let counters = spread(&limits);
    let alone = counters.iter().map(|counter| request(&borrowed(std::slice::from_ref(counter))));
    let crossing = counters.windows(2).map(|pair| request(&borrowed(pair)));
    let requests: Vec<_> = alone.chain(crossing).collect();
    let moving = Arc::new(AtomicBool::new(true));
    let flooding = {
        let (store, moving, requests) = (Arc::clone(&store), Arc::clone(&moving), requests.clone());
        tokio::spawn(async move {
            let mut asked = vec![[0; 3]; requests.len()];
            while moving.load(Ordering::SeqCst) {
                for (sum, more) in asked.iter_mut().zip(flood(&store, requests.clone(), 16, 50).await) {
                    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                }
            }
            asked
        })
    };
    for round in 0..5 {
        for (index, counter) in borrowed(&counters).into_iter().enumerate() {
            cluster.move_slot(slot(counter), (index + round) % 3, (index + round + 1) % 3).await;
        }
    }
    moving.store(false, Ordering::SeqCst);
    let asked = flooding.await.unwrap();
    assert!(
        asked.iter().all(|[admitted, refused, failed]| *admitted > 0 && refused + failed == 0),
        "{asked:?}"
    );
    let admitted: Vec<u64> = asked.iter().map(|[admitted, ..]| *admitted).collect();
    let charged =
        [admitted[0] + admitted[3], admitted[1] + admitted[3] + admitted[4], admitted[2] + admitted[4]];
    for (counter, charged) in borrowed(&counters).into_iter().zip(charged) {
        assert_eq!(left(&store, counter).await, 1_400_000 - charged, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_on_its_way_is_asked_for_where_its_keys_are() {
    let cluster = Cluster::start().await;
    let store = Arc::new(store(&cluster));
    let limits = [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow]
        .map(|of| limit(of, 50_000));
    let counters = spread(&limits);
    let counters = borrowed(&counters);
    let alone: Vec<_> = counters.iter().map(|counter| request(&[*counter])).collect();
    let mut charged = [0; 3];
    for asked in &alone {
        assert!(!ask(&store, asked).await.unwrap().refused);
    }
    // The first slot stays on its way to the second node, which others ask about slots of its own meanwhile:
    // were a question of theirs to come between the word that a slot is only on its way and the script, the
    // script would be sent back.
    cluster.begin_to_move(slot(counters[0]), 0, 1).await;
    cluster.move_keys(slot(counters[0]), 0, 1).await;
    let asked = flood(&store, alone.clone(), 24, 100).await;
    for (index, [admitted, refused, failed]) in asked.into_iter().enumerate() {
        assert_eq!((refused, failed), (0, 0));
        charged[index] = admitted + 1;
    }
    cluster.has_moved(slot(counters[0]), 0, 1).await;
    for (counter, charged) in counters.into_iter().zip(charged) {
        assert_eq!(left(&store, counter).await, 50_000 - charged);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descriptor_whose_keys_are_on_both_sides_waits_until_they_are_together() {
    let cluster = Cluster::start().await;
    let store = Arc::new(store(&cluster));
    let of_a_descriptor = [limit(Algorithm::TokenBucket, 100), limit(Algorithm::FixedWindow, 100)];
    let first = ("descriptor", of_a_descriptor[0]);
    let both = [first, ("descriptor", of_a_descriptor[1])];
    assert!(!ask(&store, &request(&[first])).await.unwrap().refused);
    let (from, to) = (Cluster::first_home(slot(first)), (Cluster::first_home(slot(first)) + 1) % 3);
    cluster.begin_to_move(slot(first), from, to).await;
    // One key is there and one is nowhere yet: neither node may run the script.
    let waiting = {
        let (store, both) = (Arc::clone(&store), request(&both));
        tokio::spawn(async move { ask(&store, &both).await })
    };
    eventually("a script that is sent back", async || {
        let stats: String = cluster.nodes[from].ask(&["INFO", "errorstats"]).await.ok()?;
        stats.contains("errorstat_TRYAGAIN").then_some(())
    })
    .await;
    cluster.move_keys(slot(first), from, to).await;
    cluster.has_moved(slot(first), from, to).await;
    assert!(!waiting.await.unwrap().unwrap().refused);
    assert_eq!(left(&store, both[0]).await, 98);
    assert_eq!(left(&store, both[1]).await, 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_fails_its_own_slots_until_its_replica_serves_them() {
    let mut cluster = Cluster::with(&["--cluster-require-full-coverage", "no"]).await;
    cluster.add_replica_of(0).await;
    let counters = spread(&[limit(Algorithm::TokenBucket, 100); 3]);
    let counters = borrowed(&counters);
    let store = store(&cluster);
    let requests: Vec<_> = counters.iter().map(|counter| request(&[*counter])).collect();
    for asked in &requests {
        assert!(!ask(&store, asked).await.unwrap().refused);
    }
    cluster.nodes[0].kill();
    eventually("a failure", async || ask(&store, &requests[0]).await.err()).await;
    for asked in &requests[1..] {
        assert!(!ask(&store, asked).await.unwrap().refused, "the other nodes serve on");
    }
    let outcome = eventually("the replica", async || ask(&store, &requests[0]).await.ok()).await;
    assert!(!outcome.refused);
    // The replica had what the node had booked, or the last of it was lost with the node; never more.
    let left = left(&store, counters[0]).await;
    assert!((98..=99).contains(&left), "{left} of 100 are left after 2 hits");
}
