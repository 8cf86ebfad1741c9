"""What goes wrong, by name, and the test that lets it happen. Explicit, so that a fault keeps its name when tests move."""

from __future__ import annotations

SIM, REAL, UNIT = "tests/simulation", "tests/integration", "tests/unit"
CALLS = f"{SIM}/test_crash_matrix.py::test_every_point"

# Where, what, and the test. The faults of the matrix strike before and after each call and each commit of each story.
FAULTS: tuple[tuple[str, str, str], ...] = (
    ("any call", "the daemon dies just before it", CALLS),
    ("any call", "the daemon dies just after it, the answer unheard", CALLS),
    ("any call", "it fails for a moment (429, 5xx, timeout)", CALLS),
    ("any call", "it took effect and its answer is lost", CALLS),
    ("any call", "it timed out and takes effect later", CALLS),
    ("any call", "it takes effect very late", f"{SIM}/test_late_and_twice.py::test_very_late"),
    ("any call", "two faults in a row", f"{SIM}/test_late_and_twice.py::test_twice_in_a_row"),
    ("any call", "the lease runs out before it", CALLS),
    ("any commit", "the daemon dies before or after it", CALLS),
    ("any commit", "somebody else's commit came first", CALLS),
    ("any commit", "the journal is away, or stored it and could not say so", CALLS),
    ("any request", "each request to AWS fails once", f"{REAL}/test_every_call_aws.py::test_every_request"),
    (
        "any request",
        "each request to Cloudflare fails once, or two in a row",
        f"{REAL}/test_every_call_cloudflare.py::test_every_request",
    ),
    (
        "any request",
        "each request to Kubernetes for a Secret fails once",
        f"{REAL}/test_every_call_kubernetes.py::test_every_request_of_the_secret_backend",
    ),
    (
        "any request",
        "each request for a ServiceAccount's token fails once",
        f"{REAL}/test_every_call_tokens.py::test_every_request_of_the_token_issuer",
    ),
    (
        "any request",
        "each request of a workload's restart fails once",
        f"{SIM}/test_every_call_workloads.py::test_every_request_of_a_workload_consumer",
    ),
    ("everything", "thousands of random mixtures of all of it, with replicas", f"{SIM}/test_seeds.py::test_seeds"),
    (
        "everything",
        "kill -9 at random moments, against real servers",
        "tests/crash/test_real_crashes.py::test_kill_9_over_and_over",
    ),
    ("issuer", "it hangs", f"{UNIT}/test_engine.py::test_an_issuer_that_hangs_takes_its_share_and_no_more"),
    ("issuer", "its quota is spent", f"{UNIT}/test_engine.py::test_a_quota_is_waited_for"),
    ("issuer", "a permanent denial", f"{SIM}/test_ends.py::test_a_pivot_that_is_denied_is_tried_with_pauses_and_told_once"),
    (
        "issuer",
        "a value is lost between mint and store",
        f"{SIM}/test_ends.py::test_what_a_lost_mint_made_is_found_where_it_was_made",
    ),
    (
        "issuer",
        "a lost mint where nothing bears labels",
        f"{SIM}/test_ends.py::test_unlabelled_waits_for_what_a_lost_mint_made",
    ),
    (
        "issuer",
        "a lost mint of something that only its expiry ends",
        f"{SIM}/test_leased.py::test_a_lost_answer_is_waited_for_as_long_as_a_lease_may_last",
    ),
    (
        "issuer",
        "somebody else's key takes the free place",
        f"{REAL}/test_aws_rotations.py::test_somebody_elses_key_is_never_touched",
    ),
    (
        "issuer",
        "a version is dead by its list and still works",
        f"{SIM}/test_ends.py::test_what_still_opens_the_door_is_not_dead",
    ),
    (
        "issuer",
        "half a page of its list, or one that changes while it is read",
        f"{UNIT}/test_cloudflare_tokens.py::test_a_list_that_changes_while_it_is_read_loses_nothing",
    ),
    ("issuer", "revoked, it says, and did nothing", "tests/incidents/test_outlived.py::test_zscaler_2025"),
    ("issuer", "the old version is gone already", f"{SIM}/test_ends.py::test_a_base_that_is_gone_does_not_hold_the_pivot"),
    ("issuer", "it hands out what is masked or cut off", f"{UNIT}/test_guards.py::test_a_guard_refuses"),
    (
        "issuer",
        "it hands out the value that is to be replaced",
        f"{SIM}/test_guards_left_out.py::test_what_an_issuer_hands_out_is_looked_at",
    ),
    ("issuer", "it hands out what has expired", "tests/incidents/test_loops_and_halves.py::test_cert_manager_8610"),
    ("issuer", "it hands out another credential's value", "tests/incidents/test_not_everywhere.py::test_pagerduty_2023"),
    ("issuer", "it refuses the value that we chose", "tests/incidents/test_loops_and_halves.py::test_vault_28989"),
    ("issuer", "the rotations of many credentials fail", "tests/incidents/test_ended_too_early.py::test_gitlab_may_2024"),
    (
        "issuer",
        "a renewal that fails for ever",
        f"{SIM}/test_ends.py::test_a_base_that_cannot_be_renewed_does_not_starve_the_new_one",
    ),
    (
        "issuer",
        "a renewal that prolongs nothing",
        f"{SIM}/test_ends.py::test_a_version_that_nears_the_end_of_its_life_is_replaced",
    ),
    ("issuer", "a plugin's bug", f"{SIM}/test_ends.py::test_a_bug_in_a_plugin_does_not_run_hot"),
    ("destination", "it is away for hours", f"{SIM}/test_ends.py::test_a_store_that_is_away_does_not_stop_renewals"),
    ("destination", "it does not answer", f"{UNIT}/test_engine.py::test_a_destination_that_does_not_answer_holds_up_no_other"),
    ("destination", "Vault is sealed", f"{REAL}/test_operation.py::test_a_sealed_vault"),
    (
        "destination",
        "its name leads to another cluster",
        f"{UNIT}/test_vault_cluster.py::test_a_name_that_leads_elsewhere_one_day",
    ),
    (
        "destination",
        "a kubeconfig leads to another cluster",
        f"{UNIT}/test_kubernetes_pin.py::test_a_kubeconfig_that_was_switched",
    ),
    (
        "destination",
        "our identity belongs to another account",
        "tests/contracts/test_aws_pins.py::test_another_account_is_not_touched",
    ),
    (
        "destination",
        "a value is changed by hand",
        f"{REAL}/test_lost_journals.py::test_a_value_changed_by_hand_is_kept_until_a_person_decides_for_ours",
    ),
    ("destination", "a value is deleted", f"{REAL}/test_lost_journals.py::test_a_deleted_value_comes_back"),
    (
        "destination",
        "a value is deleted everywhere",
        f"{REAL}/test_lost_journals.py::test_a_value_deleted_everywhere_is_replaced",
    ),
    ("destination", "it goes back to an older value", "tests/incidents/test_not_everywhere.py::test_travis_ci"),
    (
        "destination",
        "somebody writes at the same moment",
        f"{REAL}/test_kubernetes_backend.py::test_a_change_of_others_in_between_is_written_beside",
    ),
    (
        "destination",
        "it is deleted in between",
        f"{REAL}/test_kubernetes_backend.py::test_a_secret_deleted_in_between_is_not_made_by_accident",
    ),
    (
        "destination",
        "what is written lands after it was cleared",
        f"{REAL}/test_aws_backends.py::test_a_value_that_lands_after_its_slot_was_cleared_goes_with_the_next_use",
    ),
    (
        "destination",
        "two installations over one path",
        f"{REAL}/test_lost_journals.py::test_two_installations_over_the_same_paths",
    ),
    (
        "destination",
        "it says that it wrote, and did not",
        f"{SIM}/test_waves.py::test_a_write_that_was_forgotten_is_found_by_reading_back",
    ),
    (
        "destination",
        "it keeps half of what was written",
        f"{SIM}/test_waves.py::test_a_write_that_was_cut_off_is_found_by_reading_back",
    ),
    ("destination", "what copies from it stops", f"{SIM}/test_copies.py::test_a_copier_that_never_copies_turns_back"),
    ("destination", "a copy goes back", f"{SIM}/test_copies.py::test_a_copy_that_goes_back_keeps_the_old_version_alive"),
    ("consumer", "it loads nothing although it said yes", "tests/incidents/test_not_everywhere.py::test_gocardless_2020"),
    ("consumer", "some of its instances do not follow", "tests/incidents/test_not_everywhere.py::test_reloader_701"),
    ("consumer", "it breaks on the new version", "tests/incidents/test_not_everywhere.py::test_slack_2021"),
    ("consumer", "its health cannot be told", f"{SIM}/test_moments.py::test_unknown_is_not_healthy"),
    ("consumer", "nothing of it runs", f"{SIM}/test_moments.py::test_nobody_runs"),
    (
        "consumer",
        "a rollout never becomes ready",
        f"{REAL}/test_rollouts.py::test_a_rollout_that_never_becomes_ready_is_undone",
    ),
    (
        "consumer",
        "its node does not answer",
        f"{REAL}/test_rollouts.py::test_a_node_that_does_not_answer_is_tolerated_where_told_so",
    ),
    (
        "consumer",
        "another credential's new version breaks it",
        f"{SIM}/test_shared_restarts.py::test_they_fail_and_are_restored_together",
    ),
    ("consumer", "somebody else restarts it", f"{SIM}/test_shared_restarts.py::test_somebody_elses_restart_is_not_repeated"),
    ("consumer", "a reader that nobody declared", f"{SIM}/test_gate.py::test_the_gate_stops_it"),
    ("clock", "it is set, in any state", f"{SIM}/test_clock_jumps.py::test_a_jump_in_any_state_does_no_harm"),
    ("clock", "a leap day, and summer time", "tests/incidents/test_loops_and_halves.py::test_azure_2012_our_own_days"),
    ("journal", "it is lost", f"{REAL}/test_lost_journals.py::test_a_lost_journal"),
    (
        "journal",
        "it is restored from any earlier moment",
        f"{SIM}/test_restored_journals.py::test_a_journal_restored_from_any_moment",
    ),
    ("journal", "the key of its fingerprints is lost", f"{SIM}/test_lost_key.py::test_a_new_key_rotates_on_as_before"),
    ("journal", "its disk is full", f"{REAL}/test_operation.py::test_a_full_disk"),
    ("journal", "its file is replaced under the daemon", f"{UNIT}/test_journal_sqlite.py::test_a_replaced_file_is_noticed"),
    ("journal", "it is of a newer version", f"{REAL}/test_daemon.py::test_a_journal_of_a_newer_version"),
    ("journal", "a second daemon opens it", f"{REAL}/test_daemon.py::test_a_second_daemon_over_the_same_journal"),
    ("PostgreSQL", "it is away", f"{REAL}/test_postgresql_daemon.py::test_the_daemon_outlives_its_database"),
    (
        "PostgreSQL",
        "it goes away before a pivot",
        f"{REAL}/test_postgresql_daemon.py::test_nothing_dies_while_the_database_is_gone",
    ),
    ("PostgreSQL", "its connections are killed", f"{REAL}/test_postgresql_outages.py::test_killed_connections"),
    ("PostgreSQL", "it is restarted", f"{REAL}/test_postgresql_outages.py::test_a_restart"),
    ("PostgreSQL", "it hangs", f"{REAL}/test_postgresql_outages.py::test_a_server_that_hangs"),
    ("PostgreSQL", "the network swallows what is sent", f"{REAL}/test_postgresql_outages.py::test_a_network_that_swallows"),
    (
        "PostgreSQL",
        "a process that shares it crashes, again and again",
        f"{REAL}/test_postgresql_outages.py::test_crashes_of_a_process",
    ),
    (
        "PostgreSQL",
        "somebody's transaction has locked a lease",
        "tests/contracts/test_journal_postgresql.py::test_what_is_being_looked_at_is_passed_over",
    ),
    (
        "PostgreSQL",
        "nobody answers, and many want a connection",
        f"{UNIT}/test_postgresql_connections.py::test_a_server_that_is_away_is_asked_less_and_less_often",
    ),
    ("PostgreSQL", "the pool is exhausted", f"{REAL}/test_postgresql_outages.py::test_an_exhausted_pool"),
    ("replica", "kill -9", f"{REAL}/test_replicas.py::test_kill_9_is_followed_within_the_lease"),
    (
        "replica",
        "frozen beyond its lease, and going on",
        f"{REAL}/test_replicas.py::test_a_frozen_one_writes_nothing_when_it_goes_on",
    ),
    (
        "journal",
        "its move to another database dies at any stage",
        f"{REAL}/test_journal_moves.py::test_killed_at_any_stage_it_ends_well",
    ),
    (
        "journal",
        "a daemon is started on the one that was moved away",
        f"{UNIT}/test_move_journal.py::test_the_old_one_is_refused_by_name",
    ),
    (
        "journal",
        "a frozen daemon goes on with one that was moved away",
        f"{REAL}/test_journal_moves.py::test_a_frozen_daemon_commits_nothing_afterwards",
    ),
    (
        "replica",
        "frozen in the middle of a file's write, and going on",
        f"{UNIT}/test_file_backend.py::test_a_write_that_stood_still_beyond_its_time_is_not_completed",
    ),
    ("replica", "another configuration", f"{REAL}/test_replicas.py::test_another_configuration_makes_the_others_stand_back"),
    ("replica", "another key of fingerprints", f"{REAL}/test_replicas.py::test_another_key_is_refused"),
    ("person", "SIGTERM in each step", f"{REAL}/test_operation.py::test_sigterm_in_each_step"),
    (
        "person",
        "a hold, a rollback or a leak a moment before the pivot",
        f"{SIM}/test_moments.py::test_accepted_before_the_pivot_wins",
    ),
    (
        "person",
        "a credential is removed in mid-rotation",
        f"{REAL}/test_operation.py::test_a_credential_removed_in_mid_rotation",
    ),
    (
        "person",
        "a configuration changes in mid-rotation",
        f"{REAL}/test_operation.py::test_a_credential_changed_in_mid_rotation",
    ),
    ("person", "a bad configuration is put in place", f"{REAL}/test_daemon.py::test_a_bad_configuration_keeps_the_old_one"),
    ("person", "a pause that nobody ends", f"{UNIT}/test_watchdog.py::test_a_pause_is_told_of_before_and_after_it_ends"),
    ("leak", "a version leaks at any moment", f"{SIM}/test_leaked_versions.py::test_a_leak_at_any_moment"),
    (
        "leak",
        "its consumer cannot be reloaded",
        f"{SIM}/test_leaked_versions.py::test_a_consumer_that_cannot_be_reloaded_does_not_outlast_the_deadline",
    ),
    (
        "leak",
        "base and new both leak",
        f"{SIM}/test_leaked_versions.py::test_what_consumers_may_still_use_is_not_killed_when_both_leaked",
    ),
    ("engine", "it does nothing at all", "tests/incidents/test_outlived.py::test_storm_0558"),
    ("engine", "it stands still, and so does the alarm", f"{UNIT}/test_pulse.py::test_it_falls_silent_when_nothing_gets_on"),
    (
        "engine",
        "a rotation comes too late",
        f"{UNIT}/test_watchdog.py::test_a_late_rotation_is_told_of_at_50_25_and_10_per_cent",
    ),
    (
        "engine",
        "backing off, or the wait for a person, lasts longer than a version",
        f"{SIM}/test_expiring.py::test_it_is_tried_more_often_as_the_end_comes_near_and_replaced_in_time",
    ),
    (
        "person",
        "a pause a moment before the pivot",
        f"{SIM}/test_gate.py::test_a_pause_between_the_gate_and_the_pivot_beats_it",
    ),
    ("person", "a hold that lasts until after an expiry", f"{UNIT}/test_policy.py::test_what_lets_a_version_expire_is_told"),
    ("person", "a hold over a leak", f"{SIM}/test_expiring.py::test_a_leak_under_a_hold_is_loud"),
    (
        "person",
        "a value is changed by hand while nobody is at work",
        f"{REAL}/test_by_hand.py::test_a_token_of_vault_is_rotated_by_hand",
    ),
    (
        "ourselves",
        "a new credential of our own works and lacks a right",
        f"{REAL}/test_own_vault.py::test_a_new_one_that_lacks_a_right_is_never_published",
    ),
    (
        "ourselves",
        "the old one is still in a daemon's memory",
        "tests/incidents/test_own_and_parents.py::test_platform9_no_parent_ends_while_it_is_in_use",
    ),
    (
        "ourselves",
        "kill -9 while our own credential is replaced",
        f"{REAL}/test_own_vault.py::test_killed_in_between",
    ),
    (
        "ourselves",
        "a daemon stands still while our own credential is replaced",
        f"{REAL}/test_own_replicas.py::test_one_that_stands_still_goes_on_with_the_new_one",
    ),
    (
        "ourselves",
        "what we speak to an issuer with ends, and nobody replaces it",
        "tests/incidents/test_own_and_parents.py::test_platform9",
    ),
    (
        "ourselves",
        "a person is about to end what we speak with",
        f"{UNIT}/test_own.py::test_what_we_speak_with_is_not_ended_before_there_is_another",
    ),
)


def table() -> str:
    """The rows of the page."""
    rows = [f"| {number} | {where} | {what} | `{test}` |" for number, (where, what, test) in enumerate(FAULTS, 1)]
    return "\n".join(["| | where | what goes wrong | test |", "|---|---|---|---|", *rows])
