"""Real outages and breaches of credentials: what failed there, what stops it here, and the test that shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incident:
    """``tests``: the replays, as they begin their names. ``needs``: what is missing for one, or for the rest of it."""

    name: str
    year: str
    failed: str
    safeguard: str
    test: str = ""
    needs: str = ""


EVERYWHERE, EARLY = "test_not_everywhere.py", "test_ended_too_early.py"
OUTLIVED, LOOPS = "test_outlived.py", "test_loops_and_halves.py"
OWN = "test_own_and_parents.py"

INCIDENTS = (
    Incident(
        "Cloudflare R2",
        "2025",
        "the new key went to another environment, the old one was deleted: all writes failed for 67 minutes",
        "the named production consumer must show the new version itself (`consumers_proven`); the environment that is meant "
        "can be pinned (Vault's `cluster_id`, AWS's `account`, Kubernetes' `cluster_uid`)",
        f"{EVERYWHERE}::test_cloudflare_r2_2025",
    ),
    Incident(
        "Cloudflare, after Okta",
        "2023",
        "one token and three accounts of thousands were not rotated, because nobody used them",
        "",
        needs="campaigns over an inventory, which close only when every item is rotated, revoked or signed off",
    ),
    Incident(
        "Cloudflare Access",
        "2023",
        "records read with their secrets masked were written back: 121 minutes",
        "what is blank, masked or broken is never staged (`whole`); the masked type cannot be serialised",
        f"{EVERYWHERE}::test_cloudflare_access_2023",
    ),
    Incident(
        "Azure AD",
        "2021",
        "keys were removed by age in spite of a mark to keep them: 14 hours",
        "holds are read again by the transaction that decides (`no_hold`, and the sequence number)",
        f"{EARLY}::test_azure_ad_2021",
    ),
    Incident(
        "Microsoft, Storm-0558",
        "2023",
        "a key of 2016 still signed: rotation had been paused, and nothing watched ages",
        "a watchdog of ages that trusts no scheduler; pauses and holds with an end and an owner; pauses told of daily",
        f"{OUTLIVED}::test_storm_0558",
        "signing keys, for the rest",
    ),
    Incident(
        "GitHub, 27 December",
        "2023",
        "a roll-back left callers with a key that had been disabled: 90 minutes",
        "the way back proves the old version before it takes the new one away (prove, back)",
        f"{EVERYWHERE}::test_github_december_27_2023",
    ),
    Incident(
        "GitHub, 28 December",
        "2023",
        "some of many mail servers did not get the new credential: 65 minutes",
        "every instance of a consumer is proven (`consumers_proven`)",
        f"{EVERYWHERE}::test_github_december_28_2023",
    ),
    Incident(
        "GitHub, 5 June",
        "2024",
        "one of several services still used the expired credential: 142 minutes",
        "no death before the slowest consumer has moved (`consumers_proven`)",
        f"{EVERYWHERE}::test_github_june_2024",
    ),
    Incident(
        "GitHub, 29 March",
        "2025",
        "an internal credential expired, and nobody noticed for two days",
        "people are told days before an expiry, and when 50, 25 and 10 % of the time that its rotation had are left",
        f"{OUTLIVED}::test_github_march_2025",
        "an inventory, for credentials that nobody declared",
    ),
    Incident(
        "PagerDuty",
        "2023",
        "the wrong secret, of a similar name, was written: 65 minutes",
        "the value itself is used at the issuer first, and must be of the id and scope that were asked for (prove)",
        f"{EVERYWHERE}::test_pagerduty_2023",
    ),
    Incident(
        "JumpCloud",
        "2025",
        "the second of two database users failed in the swap: 23 minutes",
        "the standby is logged in with before anything is switched (prove)",
        f"{EVERYWHERE}::test_jumpcloud_2025",
    ),
    Incident(
        "GitLab, 11 September",
        "2024",
        "a clean-up of what rotation left deleted the owners of 1,456 live tokens",
        "only our own ids die, one by one, after another look at every destination (`not_shown`)",
        f"{EARLY}::test_gitlab_september_2024",
    ),
    Incident(
        "GitLab, 14 May",
        "2024",
        "many tokens ended at once, and tries with dead ones led to bans",
        "due times are spread; a refusal is not tried again at once; new rotations stop at a failure rate",
        f"{EARLY}::test_gitlab_may_2024",
    ),
    Incident(
        "GoCardless",
        "2020",
        "a certificate was renewed on disk and never loaded; clients gave up when the store was away: 22 minutes",
        "what runs counts, not what is stored (`consumers_proven`)",
        f"{EVERYWHERE}::test_gocardless_2020",
    ),
    Incident(
        "Logto",
        "2026",
        "a signing key was used before the caches of verifiers had it: 60 minutes",
        "",
        needs="signing keys: publish, wait for caches, use, wait for the tokens' life, remove",
    ),
    Incident(
        "Slack",
        "2021",
        "the rotation was fine, a client could not cope with the new token: 3.8 hours",
        "waves: the canary must be healthy before the rest sees anything (`consumers_healthy`), and it goes back by itself",
        f"{EVERYWHERE}::test_slack_2021",
    ),
    Incident(
        "Beyond Identity",
        "2021",
        "a rotation failed unnoticed; a day later the cloud did one of its steps by itself",
        "what somebody else changes under a rotation holds it, and is told (`destinations_hold`)",
        f"{LOOPS}::test_beyond_identity_2021",
    ),
    Incident(
        "Travis CI",
        "-",
        "an incomplete rotation of a password leaked machines",
        "every destination is read back, and again before the end (`destinations_hold`)",
        f"{EVERYWHERE}::test_travis_ci",
    ),
    Incident(
        "Tinybird's token at Pollinations",
        "2026",
        "a sealed copy in git kept the old value: three hours of refusals",
        "copies that something else fills are read back until the end (`copies_hold`)",
        f"{EVERYWHERE}::test_pollinations_2026",
    ),
    Incident(
        "Zscaler, in Salesloft Drift",
        "2025",
        "a product was retired, its token was left alive",
        "`retire` revokes, and is over only when the issuer refuses the value (prove dead)",
        f"{OUTLIVED}::test_zscaler_2025",
    ),
    Incident(
        "Internet Archive; xAI",
        "2024-2025",
        "tokens known to have leaked worked for months",
        "a leak mark starts a clock; at its end the version dies, on record",
        f"{OUTLIVED}::test_internet_archive_2024",
        "leak intake, to hear of leaks without a person",
    ),
    Incident(
        "Snowflake's customers",
        "2024",
        "stolen passwords of 2020 still worked",
        "the greatest age has no silent exemption: the watchdog tells, whatever holds a rotation up",
        f"{OUTLIVED}::test_snowflake_2024",
        "an inventory, for passwords that nobody declared",
    ),
    Incident(
        "Microsoft's 38 TB",
        "2023",
        "a token for a whole account, valid until 2051, not to be revoked by itself",
        "what outlives the life asked for, or can never be ended, is refused (`mortal`)",
        f"{OUTLIVED}::test_microsoft_38_tb_2023",
    ),
    Incident(
        "CircleCI",
        "2023",
        "every stored secret had to be replaced at once",
        "what leaked is replaced whatever failed before: no backoff, window or failure rate puts it off",
        f"{EARLY}::test_circleci_2023",
        "campaigns, which show how far a mass rotation is",
    ),
    Incident(
        "Let's Encrypt",
        "2020",
        "three million certificates to be replaced in days",
        "also under a deadline nothing dies before its successor is at every destination (`destinations_hold`)",
        f"{EARLY}::test_lets_encrypt_2020",
        "hints of issuers to renew now",
    ),
    Incident(
        "Azure",
        "2012",
        "validity was the same day of the next year, on a leap day",
        "lives are durations; a plugin's bug stops its own rotation, loudly, with everything left working",
        f"{LOOPS}::test_azure_2012",
    ),
    Incident(
        "Teams; Ericsson and O2; Epic; GitLab's Consul; Mozilla",
        "2018-2021",
        "nobody's list held the certificate or key that expired",
        "",
        needs="an inventory by discovery at issuers",
    ),
    Incident(
        "Platform9's Vault chain",
        "-",
        "only the child token was renewed; its parent expired",
        "what we ourselves speak to an issuer with is watched, and told of with all that depends on it (`OwnLives`); replaced, "
        "it must show that we can go on with it (`trials`, `consumers_proven`)",
        f"{OWN}::test_platform9",
    ),
    Incident(
        "cert-manager 8610, 7741",
        "-",
        "an issuer returned expired certificates: thousands of requests in minutes",
        "what has expired is never staged (`alive`); pauses grow until a person is asked",
        f"{LOOPS}::test_cert_manager_8610",
    ),
    Incident(
        "Vault 28989, openldap plugin 56",
        "-",
        "a saved password broke the policy and was tried for ever",
        "what is refused for good is given up, and the next try has another value (mint)",
        f"{LOOPS}::test_vault_28989",
    ),
    Incident(
        "Reloader 701; sapcc 8835",
        "-",
        "restarts were logged and did not happen; names and passwords came from different versions",
        "only new instances count, every one (`consumers_proven`); all fields are one write (publish)",
        f"{EVERYWHERE}::test_reloader_701",
    ),
)


def table() -> str:
    """The rows of the page."""
    rows = [
        f"| {number} | {each.name} | {each.year} | {each.failed} | {each.safeguard or '-'} | {_shown(each)} |"
        for number, each in enumerate(INCIDENTS, 1)
    ]
    replayed = sum(bool(each.test) for each in INCIDENTS)
    columns = "| | incident | year | what failed | safeguard | test |\n|---|---|---|---|---|---|"
    return "\n".join([f"{replayed} of {len(INCIDENTS)} are replayed.\n", columns, *rows])


def _shown(incident: Incident) -> str:
    more = f"not yet: needs {incident.needs}" if incident.needs else ""
    return "; ".join(part for part in (f"`{incident.test}`" if incident.test else "", more) if part)
