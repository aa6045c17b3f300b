//! rumqttd's router carries messages here; its stock listeners are never opened. What was reproduced against them, and what
//! its router does to those who take it at its word, is told here line by line with the tests that show it does not happen
//! to Spalla. A line without a test that exists fails.

/// What goes wrong -> `file test` below `broker/`.
const LEDGER: [(&str, &[&str]); 29] = [
    (
        "K1: a topic that begins with a letter outside ASCII ends the router thread",
        &[
            "src/tests/abuse.rs k1_a_topic_that_begins_with_a_letter_outside_ascii",
            "tests/conformance/publish.rs text_may_be_any_unicode_and_keeps_its_bytes",
        ],
    ),
    (
        "K2: the sole member of a share vanishes with a message unacknowledged",
        &["src/tests/abuse.rs k2_a_shared_subscription_whose_only_member_vanishes"],
    ),
    ("K3: a client id with + $ # / connects twice", &["src/tests/abuse.rs k3_client_ids_with_characters_of_topics_connect_twice"]),
    ("K4: the limit of connections is reached", &["src/tests/abuse.rs k4_more_clients_than_the_limit_are_told_and_places_are_given_again"]),
    ("K5: a v5 PUBLISH with properties for a v4 subscriber", &["src/tests/abuse.rs k5_a_v5_message_with_properties_to_a_v4_subscriber"]),
    (
        "K6: one idle connection blocks a TLS or WebSocket listener",
        &[
            "src/tests/abuse.rs k6_sockets_that_say_nothing_hold_nobody_up_and_do_not_stay",
            "src/tests/tls.rs a_socket_that_says_nothing_holds_no_tls_or_websocket_listener_up",
        ],
    ),
    ("no ACL", &["src/tests/taking.rs what_the_acl_denies_reaches_nobody", "src/tests/taking.rs a_device_cannot_command_even_itself"]),
    (
        "no persistence",
        &[
            "src/tests/stored.rs sessions_queues_and_retained_messages_outlive_the_broker_and_commands_do_not",
            "tests/conformance/kill.rs what_was_acknowledged_survives_kill_9_and_comes_once",
        ],
    ),
    (
        "no shutdown",
        &[
            "src/tests/sessions.rs shutdown_tells_the_clients_and_frees_the_port_at_once",
            "src/tests/sessions.rs the_port_is_free_when_shutdown_returns_with_no_client_to_wait_for",
            "src/tests/abuse.rs a_dropped_handle_closes_the_broker",
        ],
    ),
    ("a port that is taken is only logged", &["src/tests/sessions.rs shutdown_tells_the_clients_and_frees_the_port_at_once"]),
    ("start() blocks", &["src/tests/abuse.rs a_dropped_handle_closes_the_broker"]),
    ("a refusal closes the socket without a CONNACK code", &["src/tests/taking.rs wrong_credentials_get_the_code_of_their_version"]),
    (
        "messages are delivered at the subscriber's QoS",
        &["tests/conformance/publish.rs the_delivered_qos_is_the_smaller_of_both_and_dup_does_not_travel"],
    ),
    (
        "an empty message that is not retained deletes the retained one",
        &["tests/conformance/retained.rs the_last_retained_message_reaches_whoever_subscribes_later"],
    ),
    ("of 500 retained messages 100 or 200 reach a newcomer", &["tests/conformance/retained.rs all_of_them_reach_a_newcomer_at_every_qos"]),
    ("a takeover publishes the new client's will", &["src/tests/sessions.rs a_newcomer_takes_over_and_the_old_ones_will_comes_first"]),
    (
        "received traffic keeps a silent client alive",
        &[
            "src/tests/sessions.rs what_a_client_is_sent_does_not_keep_it_alive",
            "src/tests/sessions.rs silence_past_the_keep_alive_ends_the_connection_and_publishes_the_will",
        ],
    ),
    ("no UNSUBACK for an unknown filter", &["tests/conformance/subscribe.rs every_filter_has_its_code_in_its_place"]),
    (
        "a PUBLISH to a topic with wildcards is taken",
        &["tests/conformance/malformed.rs packets_that_break_the_rules_end_the_connection_with_the_code_of_the_rule"],
    ),
    ("a subscription to $SYS ends the connection", &["src/tests/steady.rs system_topics_are_retained_readable_and_not_taken_by_wildcards"]),
    (
        "a slow QoS 1 subscriber misses what was acknowledged",
        &[
            "src/tests/sessions.rs a_subscriber_that_reads_nothing_is_disconnected_and_counted_and_nobody_waits_for_it",
            "src/tests/steady.rs a_slow_v5_subscriber_is_told_0x97",
            "src/router/rumqttd.rs everything_comes_out_once_and_in_order_from_many_publishers",
        ],
    ),
    (
        "a link speaks QoS 0 only, and 100 are in flight whatever a client agreed to",
        &[
            "src/tests/taking.rs messages_pass_between_versions_at_every_qos",
            "tests/conformance/publish.rs the_receive_maximum_is_kept_both_ways",
        ],
    ),
    (
        "a reader that overlooks `Unschedule` stops for ever, a full link blocks, a slow one skips",
        &["src/router/rumqttd.rs everything_comes_out_once_and_in_order_from_many_publishers"],
    ),
    (
        "overlapping filters deliver twice",
        &["tests/conformance/subscribe.rs overlapping_filters_bring_the_highest_qos_and_all_identifiers"],
    ),
    (
        "a shared subscription needs the router's own prefix",
        &["tests/conformance/subscribe.rs a_shared_subscription_brings_each_message_to_one_member_at_its_qos"],
    ),
    (
        "memory grows with client ids, topics and subscriptions",
        &["src/tests/sessions.rs clients_topics_and_subscriptions_that_are_gone_leave_nothing_behind"],
    ),
    ("its TLS has open advisories", &["src/tests/ledger.rs the_tls_of_stock_rumqttd_is_not_in_the_build"]),
    (
        "its thread panics and nobody notices",
        &[
            "src/router/rumqttd.rs a_death_is_noticed_without_the_watchdog_and_sooner_than_it",
            "src/router/rumqttd.rs a_router_that_stands_still_is_found_by_the_watchdog_and_loses_nothing",
            "src/tests/steady.rs a_router_that_dies_is_replaced_and_nothing_acknowledged_is_lost",
        ],
    ),
    (
        "a flood of devices delays whatever shares the router",
        &["../tests/it/flood.rs a_flood_of_devices_does_not_move_the_commits_of_the_mesh"],
    ),
];

#[test]
fn every_line_has_tests_that_exist() {
    let broker = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (line, tests) in LEDGER {
        assert!(!tests.is_empty(), "{line}");
        for test in tests {
            let (file, name) = test.split_once(' ').expect("a file and a test");
            let text = std::fs::read_to_string(broker.join(file)).unwrap_or_default();
            assert!(text.contains(&format!("fn {name}(")), "`{line}`: {file} has no test {name}");
        }
    }
}

/// With its default features rumqttd brings rustls 0.22.
#[test]
fn the_tls_of_stock_rumqttd_is_not_in_the_build() {
    let lock = include_str!("../../../Cargo.lock");
    let versions: Vec<&str> = lock.split("[[package]]").filter(|package| package.contains("name = \"rustls\"\n")).collect();
    assert!(!versions.is_empty() && versions.iter().all(|package| package.contains("version = \"0.23.")), "{versions:?}");
}
