BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE credentials (
	name VARCHAR NOT NULL, 
	seq BIGINT NOT NULL, 
	issuer VARCHAR NOT NULL, 
	due_at BIGINT, 
	deadline BIGINT NOT NULL, 
	inspected_at BIGINT, 
	open SMALLINT NOT NULL, 
	halted SMALLINT NOT NULL, 
	owed INTEGER NOT NULL, 
	ready SMALLINT NOT NULL, late_at BIGINT, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
INSERT INTO "credentials" VALUES('turning',1,'vault',1767614400000000,1767700800000000,NULL,1,0,0,0,1767695400000000);
INSERT INTO "credentials" VALUES('waiting',0,'vault',1767700800000000,4611686018427387904,0,0,0,0,0,NULL);
CREATE TABLE events (
	seq INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	time BIGINT NOT NULL, 
	credential VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	UNIQUE (id)
);
INSERT INTO "events" VALUES(1,'e1',1767614400000000,'turning','{"schema":1,"id":"e1","time":"2026-01-05T12:00:00Z","actor":"engine","action":"mint","credential":"turning","outcome":"done","version":"","rotation":"","reason":"","evidence":{"n":[1]},"seq":0}');
CREATE TABLE facts (
	"key" VARCHAR NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('installation','inst_1');
CREATE TABLE journal (
	id INTEGER NOT NULL, 
	epoch BIGINT NOT NULL, 
	event_seq BIGINT NOT NULL, 
	credentials BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "journal" VALUES(1,1,0,2);
CREATE TABLE leases (
	name VARCHAR NOT NULL, 
	owner VARCHAR NOT NULL, 
	fence BIGINT NOT NULL, 
	expires_at BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE notices (
	position INTEGER NOT NULL, 
	id VARCHAR NOT NULL, 
	at BIGINT NOT NULL, 
	try_at BIGINT NOT NULL, 
	attempts INTEGER NOT NULL, 
	done SMALLINT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (position), 
	UNIQUE (id)
);
INSERT INTO "notices" VALUES(1,'n1',1767614400000000,1767614400000000,1,0,'{"schema":1,"id":"n1","kind":"halted","credential":"a","text":"stopped","at":"2026-01-05T12:00:00Z","facts":{"code":"x"},"attempts":0}');
INSERT INTO "notices" VALUES(2,'n2',1767614400000000,0,0,1,'{"schema":1,"id":"n2","kind":"halted","credential":"a","text":"stopped","at":"2026-01-05T12:00:00Z","facts":{"code":"x"},"attempts":0}');
CREATE TABLE records (
	name VARCHAR NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "records" VALUES('turning','{"schema":1,"name":"turning","seq":1,"spec":{"name":"turning","issuer":"vault","owner":"","purpose":"","labels":{},"policy":{"name":"default","max_age":null,"renew_before":null,"renew_before_percent":null,"ttl":null,"overlap":"PT1H","settle":"PT30S","windows":[{"kind":"allow","time_zone":"Europe/Lisbon","cron":"0 9 * * 1-4","duration":"PT1H"}],"expiry_beats_window":true,"jitter_percent":10.0,"dwell":"PT0S","verify_within":"PT10M","prove_within":"PT10M","publish_within":"PT1H","reload_within":"PT10M","mint_within":"P1D","unhealthy_after":3,"poll":"PT2S","idle":"hold","unproven_overlap":null,"still_used":"ignore","still_used_limit":"P7D","idle_for":"PT0S","on_unknown":"hold","on_drift":"hold","allow_downtime":false,"suspend":true,"end_sessions":false,"compromised_deadline":"PT15M","alarm_before":"P3D","require":{}},"scope":{"policies":["dns"]},"parameters":{},"destinations":[{"backend":"file","address":{"path":"apps/turning"},"keys":{"TOKEN":"token"},"version_key":null,"wave":0}],"consumers":[{"type":"observe","name":"app","settings":{},"health":[{"type":"tcp","settings":{"port":80}}],"refresh_within":null,"wave":0,"copies":[]}],"source":"","own_of":[]},"standing":"managed","generation":1,"current":{"generation":1,"rotation":"rot_1","issuer":"vault","ref":"ref-1","fingerprint":"00000000000000000000000000000001","scope":{},"minted_at":"2026-01-05T12:00:00Z","expires_at":"2026-01-06T12:00:00Z","renew_at":null,"digests":{},"accepted":false,"parameters":null},"rotation":{"id":"rot_2","reason":"due","way":"forward","state":"published","plan":{"name":"turning","issuer":"vault","owner":"","purpose":"","labels":{},"policy":{"name":"default","max_age":null,"renew_before":null,"renew_before_percent":null,"ttl":null,"overlap":"PT1H","settle":"PT30S","windows":[{"kind":"allow","time_zone":"Europe/Lisbon","cron":"0 9 * * 1-4","duration":"PT1H"}],"expiry_beats_window":true,"jitter_percent":10.0,"dwell":"PT0S","verify_within":"PT10M","prove_within":"PT10M","publish_within":"PT1H","reload_within":"PT10M","mint_within":"P1D","unhealthy_after":3,"poll":"PT2S","idle":"hold","unproven_overlap":null,"still_used":"ignore","still_used_limit":"P7D","idle_for":"PT0S","on_unknown":"hold","on_drift":"hold","allow_downtime":false,"suspend":true,"end_sessions":false,"compromised_deadline":"PT15M","alarm_before":"P3D","require":{}},"scope":{"policies":["dns"]},"parameters":{},"destinations":[{"backend":"file","address":{"path":"apps/turning"},"keys":{"TOKEN":"token"},"version_key":null,"wave":0}],"consumers":[{"type":"observe","name":"app","settings":{},"health":[{"type":"tcp","settings":{"port":80}}],"refresh_within":null,"wave":0,"copies":[]}],"source":"","own_of":[]},"base":{"generation":1,"rotation":"rot_1","issuer":"vault","ref":"ref-1","fingerprint":"00000000000000000000000000000001","scope":{},"minted_at":"2026-01-05T12:00:00Z","expires_at":"2026-01-06T12:00:00Z","renew_at":null,"digests":{},"accepted":false,"parameters":null},"base_healthy":null,"new":{"generation":2,"rotation":"rot_2","issuer":"vault","ref":"ref-2","fingerprint":"00000000000000000000000000000002","scope":{},"minted_at":"2026-01-05T12:00:00Z","expires_at":null,"renew_at":null,"digests":{},"accepted":false,"parameters":null},"intents":[{"generation":2,"at":"2026-01-05T12:00:00Z","instant":null,"outcome":"open","known":["ref-1"],"repeated":false}],"minted":null,"leg":0,"wave":0,"drifts":0,"reached":0,"touched":false,"written":[],"reloaded":[],"seen":[],"base_used":"","base_quiet":null,"since":"2026-01-05T12:00:00Z","timer":null,"healthy_since":null,"unhealthy":0,"suspension":null,"accepted_risk":"","attempts":0,"due_at":"2026-01-05T12:00:00Z","waiting":"","error":"","halt":null,"evidence":[{"check":"probe","subject":"app","verdict":"pass","detail":"accepted","at":"2026-01-05T12:00:00Z","facts":{}}],"started_at":"2026-01-05T12:00:00Z","actor":"engine","hard_deadline":null,"stretched":false,"rollback":""},"last":null,"ledger":[],"grants":[],"holds":[],"leaks":[],"asked":null,"failures":0,"backoff_until":null,"held_for_person":"","drift":[],"inspected_at":null,"trouble":null,"renew_error":"","alarmed":-1,"late_told":100,"late_generation":-1,"formerly":[],"ledger_turn":true,"due_at":"2026-01-05T12:00:00Z"}');
INSERT INTO "records" VALUES('waiting','{"schema":1,"name":"waiting","seq":0,"spec":{"name":"waiting","issuer":"vault","owner":"","purpose":"","labels":{},"policy":{"name":"default","max_age":null,"renew_before":null,"renew_before_percent":null,"ttl":null,"overlap":"PT1H","settle":"PT30S","windows":[{"kind":"allow","time_zone":"Europe/Lisbon","cron":"0 9 * * 1-4","duration":"PT1H"}],"expiry_beats_window":true,"jitter_percent":10.0,"dwell":"PT0S","verify_within":"PT10M","prove_within":"PT10M","publish_within":"PT1H","reload_within":"PT10M","mint_within":"P1D","unhealthy_after":3,"poll":"PT2S","idle":"hold","unproven_overlap":null,"still_used":"ignore","still_used_limit":"P7D","idle_for":"PT0S","on_unknown":"hold","on_drift":"hold","allow_downtime":false,"suspend":true,"end_sessions":false,"compromised_deadline":"PT15M","alarm_before":"P3D","require":{}},"scope":{"policies":["dns"]},"parameters":{},"destinations":[{"backend":"file","address":{"path":"apps/waiting"},"keys":{"TOKEN":"token"},"version_key":null,"wave":0}],"consumers":[{"type":"observe","name":"app","settings":{},"health":[{"type":"tcp","settings":{"port":80}}],"refresh_within":null,"wave":0,"copies":[]}],"source":"","own_of":[]},"standing":"managed","generation":1,"current":{"generation":1,"rotation":"rot_1","issuer":"vault","ref":"ref-1","fingerprint":"00000000000000000000000000000001","scope":{},"minted_at":"2026-01-05T12:00:00Z","expires_at":null,"renew_at":null,"digests":{},"accepted":false,"parameters":null},"rotation":null,"last":null,"ledger":[],"grants":[],"holds":[],"leaks":[],"asked":null,"failures":0,"backoff_until":null,"held_for_person":"","drift":[],"inspected_at":null,"trouble":null,"renew_error":"","alarmed":-1,"late_told":100,"late_generation":-1,"formerly":[],"ledger_turn":true,"due_at":"2026-01-06T12:00:00Z"}');
CREATE INDEX credentials_due ON credentials (ready, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX credentials_ready ON credentials (issuer, deadline, due_at) WHERE ready = 1;
CREATE INDEX credentials_deadline ON credentials (deadline) WHERE deadline < 4611686018427387904;
CREATE INDEX credentials_inspected ON credentials (inspected_at) WHERE inspected_at IS NOT NULL;
CREATE INDEX credentials_open ON credentials (open) WHERE open = 1;
CREATE INDEX credentials_halted ON credentials (halted) WHERE halted = 1;
CREATE INDEX credentials_owed ON credentials (owed) WHERE owed > 0;
CREATE INDEX events_credential ON events (credential, seq);
CREATE INDEX notices_at ON notices (at);
CREATE INDEX notices_try ON notices (try_at) WHERE done = 0;
CREATE INDEX leases_owner ON leases (owner) WHERE owner <> '';
CREATE INDEX credentials_late ON credentials (late_at) WHERE late_at IS NOT NULL;
COMMIT;
