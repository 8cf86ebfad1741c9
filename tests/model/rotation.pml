/* The lifecycle of rotatord as a model for spin: replicas, credentials, crashes, leases that run out, calls that land late.

   Three things are kept apart: the journal, what is outside (issuer, destination, consumer), and what a replica is in the midst of.
   A replica claims a credential, does one unit of work, and lets go. Between any two steps of a unit it may be killed, its lease
   may run out while it goes on (somebody else claims), a person may turn the rotation back or hold the credential, a consumer may
   read, and a call that was never answered may land: a step is one atomic statement, and all orders of steps are searched. What
   nobody else could see the middle of is one step: a claim with the reading that follows it; a read with the compare-and-set that
   names it, since that is refused if anything was written in between; a call with its effect, since one that takes effect later
   is searched as a call that was never answered.

   Of time only this is left: a unit that waits until a call can no longer land is enabled once it has landed or never will. A unit
   that would only wait is not enabled. So nothing is ever done for nothing, and "everything settles" means that no order of steps
   is endless (there is no cycle) and that each ends quiet (Judge, at timeout).

   Invariants as the design numbers them: 1 what is published, and what a consumer uses, works; 2 nothing dies that is published or
   used; 3 once quiet one version lives and pending and previous are empty; 5 nothing is committed under a stale fence, and what
   lands late does no harm; 8 everything settles; 10 only what our own intent made dies.

   With -DTELL each commit prints the journal before and after it; tests/model/table.py makes the table of transitions of that.
   tests/model/mistakes.py names the switches that leave a safeguard out. */

#ifndef CREDENTIALS
#define CREDENTIALS 2
#endif
#define REPLICAS 2
#ifndef CRASHES
#define CRASHES 2	/* in all: a kill between two steps, a kill with a call under way, a lease that runs out under its holder */
#endif
#ifndef HOLDS
#define HOLDS 0		/* 1: somebody may hold each credential once */
#endif
#ifndef LOSSES
#define LOSSES 0	/* how often a destination is emptied by somebody else: published again, or repaired */
#endif
#ifndef FAILURES
#define FAILURES 0	/* how often a gate fails for good where there is no way back, and a person has to say how to go on */
#endif
#ifndef SUSPENDS
#define SUSPENDS 0	/* 1: the base is disabled, reversibly, before it may die */
#endif
#ifndef CHOOSES
#define CHOOSES 0	/* 1: the value of a version may also be chosen by us, and is staged before it is minted */
#endif
#ifndef FIRST
#define FIRST 0		/* 1: a credential may also begin without any version, so that there is nothing to go back to */
#endif

/* --- words ------------------------------------------------------------------------------------------------------ */

/* Where a rotation stands: state and way; QUIET: there is none. */
#define QUIET 0
#define PLANNED_F 1
#define STAGED_F 2
#define PROVEN_F 3
#define PUBLISHED_F 4
#define RELOADED_F 5
#define VERIFIED_F 6
#define STAGED_B 7
#define PROVEN_B 8
#define PUBLISHED_B 9
#define RELOADED_B 10
#define DISCARDING_B 11
#define PROVEN_R 12
#define PUBLISHED_R 13
#define RELOADED_R 14

#define FORWARD(c) (phase[c] >= PLANNED_F && phase[c] <= VERIFIED_F)
#define REPAIR(c) (phase[c] >= PROVEN_R)

/* A version is one bit, so that sets of them are numbers too. A bit is used again once nothing bears it and nobody knows it. */
#define NONE 0
#define BASE 1
#define STRAY 64	/* somebody else's, live at the issuer under another label */
#define LOWEST(set) ((set) & -(set))

/* What a replica does next in its unit: calls, then commits. */
#define IDLE 0
#define MINT 1
#define STAGE 2		/* write the new value to pending */
#define CLEAR 3		/* rewrite pending, before what a lost answer made is owed */
#define WRITE 4
#define SUSPEND 5
#define RESUME 6
#define TIDY 7		/* clear pending before the pivot */
#define UNDO 8		/* clear pending and previous at the end of the way back */
#define REVOKE 9
#define COMMITS 10
#define MINTED 10
#define ABANDONED 11
#define PROVEN 12
#define INTENDED 13	/* the publish intent */
#define WRITTEN 14
#define VERIFIED 15
#define SUSPENDED 16
#define AUTHORISED 17
#define RESUMED 18
#define DISCARDED 19
#define DYING 20	/* the intent of a death */
#define REVOKED 21
#define CLOSED 22	/* the entry of the ledger */
#define LOST 23		/* a destination no longer shows what was published */
#define ABSENT 24	/* the value to go back to is nowhere */
#define GONE 25		/* nor is the one to publish */
#define REPLACED 26	/* nor the one that a repair would publish: a new one is made */

/* --- the journal ------------------------------------------------------------------------------------------------ */

byte phase[CREDENTIALS];
byte current[CREDENTIALS];	/* the base of an open rotation */
byte new[CREDENTIALS];
bit intent[CREDENTIALS];	/* a mint is intended and not answered */
bit lost[CREDENTIALS];		/* an earlier intent of this rotation was given up */
bit touched[CREDENTIALS];	/* the publish intent */
bit wrote[CREDENTIALS];		/* the present leg has written, and read back */
byte suspension[CREDENTIALS];	/* 0 none, 1 intended, 2 done, 3 being ended */
byte halted[CREDENTIALS];	/* for a person: 1 a step failed, 2 the old value is nowhere, 3 the new one is, with no way back */
byte owed[CREDENTIALS];		/* the ledger, a set for each stage: must die */
byte dying[CREDENTIALS];	/* the death is intended */
byte revoked[CREDENTIALS];	/* the issuer answered */
byte dead[CREDENTIALS];		/* and it is proven */
byte unproven[CREDENTIALS];	/* of those owed: dies only once a later rotation has proven that everybody left it */
bit sweep[CREDENTIALS];		/* an answer of a mint was lost: what it made is searched for */
byte hold[CREDENTIALS];		/* 1 held, 2 no more */
byte wanted[CREDENTIALS];	/* rotations still to begin */
byte holder[CREDENTIALS];	/* the fence: the replica that took the lease last, counted from 1; 0: it was given back */

/* --- outside ---------------------------------------------------------------------------------------------------- */

bit chooses[CREDENTIALS];	/* the caller chooses the value */
byte alive[CREDENTIALS];	/* at the issuer */
byte disabled[CREDENTIALS];	/* suspended there */
byte made[CREDENTIALS];		/* minted under the open intent: the label says so */
byte orphans[CREDENTIALS];	/* minted under an intent that was given up */
byte shown[CREDENTIALS];	/* by the destination */
bit ours[CREDENTIALS];		/* its marker is of a write of the present leg */
bit drifted[CREDENTIALS];	/* a look found it empty; it stays noted until a rotation or a repair has proven otherwise */
byte pending[CREDENTIALS];
byte previous[CREDENTIALS];
byte used[CREDENTIALS];		/* by the consumer */

/* Calls that were started and never answered. A write is kept here for as long as the compare token that it names is good. */
byte late_made[CREDENTIALS];		/* mints under the open intent */
byte late_orphans[CREDENTIALS];		/* and under intents that were given up */
byte late_pending[CREDENTIALS];
byte late_shown[CREDENTIALS];
bit late_ours[CREDENTIALS];		/* their marker is of the present leg */
byte late_deaths[CREDENTIALS];
byte late_suspension[CREDENTIALS];

/* --- who is at work --------------------------------------------------------------------------------------------- */

byte at[REPLICAS];	/* the credential, counted from 1 */
byte hand[REPLICAS];	/* the version in memory */
bit behind[REPLICAS];	/* the record has changed since it was read, so that a commit that names its sequence is refused */

byte crashes = 0;
byte losses = 0;
byte failures = 0;

#define LEDGER(c) (owed[c] | dying[c] | revoked[c] | dead[c])
#define IS_SUBJECT(c, v) ((FORWARD(c) && v == new[c]) || (!FORWARD(c) && v == current[c]))
#define KEPT(c) (shown[c] == current[c] || pending[c] == current[c] || previous[c] == current[c])
#define SETTLED(c) (phase[c] == QUIET && !LEDGER(c) && !sweep[c] && !wanted[c] && !(drifted[c] && current[c]))
#define WORKS(c, v) ((v) == NONE || (alive[c] & ~disabled[c] & (v)))

/* --- safeguards, each of which can be left out ------------------------------------------------------------------ */

#ifdef NO_LEASE_LOOK
#define MAY_CALL true
#else
#define MAY_CALL (holder[c] == r + 1)
#endif
#ifdef NO_FENCE
#define FENCED true
#else
#define FENCED (holder[c] == r + 1)
#endif
#ifdef NO_SEQUENCE
#define UP_TO_DATE true
#else
#define UP_TO_DATE (!behind[r])
#endif
#ifdef NO_REWRITE
#define IN_PLACE(c) IS_SUBJECT(c, shown[c])
#else
#define IN_PLACE(c) (IS_SUBJECT(c, shown[c]) && ours[c])
#endif
#ifdef NO_READ_BACK	/* what was sent is taken for written, by the gate too */
#define GATE(c) (used[c] == shown[c])
#elif defined(NO_GATE)
#define GATE(c) IS_SUBJECT(c, shown[c])
#else
#define GATE(c) (IS_SUBJECT(c, shown[c]) && used[c] == shown[c])
#endif
#ifdef NO_READ_BACK
#define LOOKS(c) false
#else
#define LOOKS(c) (!IS_SUBJECT(c, shown[c]))
#endif
#ifdef NO_LOOK_BEFORE_DEATH
#define MAY_DIE(c) (owed[c] | dying[c])
#else
#define MAY_DIE(c) ((LEFT(c) | dying[c]) & ~shown[c] & ~current[c] & ~new[c])
#endif
#ifdef NO_WAIT_FOR_LATE_MINTS
#define MINTS_OVER(c) true
#else
#define MINTS_OVER(c) (late_orphans[c] == 0)
#endif
#ifdef NO_WAIT_FOR_LATE_SUSPENSION
#define SUSPENSION_OVER(c) true
#else
#define SUSPENSION_OVER(c) (!late_suspension[c])
#endif
#ifdef NO_WAIT_FOR_UNPROVEN
#define LEFT(c) owed[c]
#else
#define LEFT(c) (owed[c] & ~unproven[c])
#endif
#ifdef RECOGNISES_ANYTHING
#define RECOGNISED(c) (pending[c] & alive[c] & ~current[c])
#else
#define RECOGNISED(c) (made[c] & pending[c] & ~LEDGER(c))
#endif
#ifdef NO_HOLD
#define HELD(c) false
#else
#define HELD(c) (hold[c] == 1)
#endif
#ifdef SWEEPS_STRAYS
#define FOUND(c) (alive[c] & ~LEDGER(c) & ~current[c] & ~new[c])
#else
#define FOUND(c) (alive[c] & orphans[c] & ~LEDGER(c) & ~current[c] & ~new[c])
#endif

/* --- what steps are made of ------------------------------------------------------------------------------------- */

#ifdef TELL
#define SAY(c) printf("%d %d %d %d %d %d %d %d %d %d %d %d %d %d\n", phase[c], halted[c], intent[c], lost[c], touched[c], \
	wrote[c], suspension[c], current[c], new[c], owed[c], dying[c], revoked[c], dead[c], sweep[c])
#else
#define SAY(c) skip
#endif

/* Around each change of the journal. Who is at work on that credential has an older record from then on. */
inline change(c) { SAY(c) }
inline changed(c)
{
	SAY(c);
	if :: at[0] == c + 1 -> behind[0] = 1 :: else fi;
	if :: at[1] == c + 1 -> behind[1] = 1 :: else fi
}
inline committed(c)
{
	assert(holder[c] == r + 1);	/* 5 */
	changed(c);
	behind[r] = 0
}

/* Take the lease. Somebody who held it has been frozen, say: that counts as a crash. */
inline take(c)
{
	if :: holder[c] -> crashes++ :: else fi;
	holder[c] = r + 1; at[r] = c + 1; behind[r] = 0; here = c
}
inline rest()
{
	if :: at[r] && holder[here] == r + 1 -> holder[here] = 0 :: else fi;
	at[r] = 0; hand[r] = NONE; behind[r] = 0; here = 0; step = IDLE
}

#define KNOWN(c) (alive[c] | LEDGER(c) | made[c] | orphans[c] | late_pending[c] | late_shown[c] | late_deaths[c] | shown[c] | used[c] \
	| pending[c] | previous[c] | new[c] | current[c] | (at[0] == c + 1 -> hand[0] : 0) | (at[1] == c + 1 -> hand[1] : 0) | BASE)
#define UNUSED(c) (~KNOWN(c) & (KNOWN(c) + 1))	/* the lowest bit that nobody knows */
inline land(c, set)	/* a mint lands late: its version is one more of the set */
{
	assert((KNOWN(c) & 32) == 0);	/* there are bits enough */
	set = set | UNUSED(c);
	alive[c] = alive[c] | set
}

inline put_shown(c, v, marked)
{
	shown[c] = v; ours[c] = marked;
#ifndef NO_COMPARE
	late_shown[c] = 0; late_ours[c] = 0	/* the compare token has moved */
#endif
}
inline put_pending(c, v)
{
	pending[c] = v;
#ifndef NO_COMPARE
	late_pending[c] = 0
#endif
}

/* A change of way, or publishing anew, begins a leg: what earlier ones wrote counts no more. */
inline turn(c, to) { phase[c] = to; halted[c] = 0; wrote[c] = 0; ours[c] = 0; late_ours[c] = 0 }

/* What was minted and not answered belongs to no open intent any more. */
inline close_mints(c)
{
	orphans[c] = orphans[c] | (made[c] & ~new[c]); made[c] = 0;
	late_orphans[c] = late_orphans[c] + late_made[c]; late_made[c] = 0
}
/* It is searched for. */
inline give_up_mints(c)
{
	if
#ifndef NO_SWEEP
	:: intent[c] || lost[c] -> sweep[c] = 1
#endif
	:: else
	fi;
	close_mints(c);
	lost[c] = lost[c] | intent[c]; intent[c] = 0
}
inline end_rotation(c)
{
	turn(c, QUIET); drifted[c] = (drifted[c] && shown[c] != current[c]);
	new[c] = NONE; lost[c] = 0; touched[c] = 0; suspension[c] = 0
}

inline die(c, v)
{
	assert((v) != STRAY);	/* 10 */
	assert(!((shown[c] | used[c] | current[c] | new[c]) & (v)));	/* 2 */
	alive[c] = alive[c] & ~(v); orphans[c] = orphans[c] & ~(v);
	disabled[c] = disabled[c] & ~(v); late_suspension[c] = late_suspension[c] & ~(v)
}

/* --- the units: what is due, and its first step ------------------------------------------------------------------ */

#define CLAIMABLE(c) (at[r] == 0 && (holder[c] == 0 || crashes < CRASHES) && (r == 0 || at[0]))	/* who is at rest is alike */
#define STEPS(c, where) (phase[c] == where && !halted[c] && CLAIMABLE(c))
#define ANYWAY(c, where) (STEPS(c, where##_F) || STEPS(c, where##_B) || STEPS(c, where##_R))
#define LEDGERS(c) (!HELD(c) && !REPAIR(c) && !intent[c] && CLAIMABLE(c))

inline begin(c)
{
	atomic {
		if
		:: STEPS(c, QUIET) && wanted[c] && !HELD(c) ->
			take(c); change(c); wanted[c]--; phase[c] = PLANNED_F; committed(c); rest()
		:: STEPS(c, PLANNED_F) && !intent[c] ->
			take(c);
#ifndef NO_MINT_INTENT
			change(c); intent[c] = 1; committed(c);
#endif
			hand[r] = UNUSED(c); step = (chooses[c] -> STAGE : MINT)
		:: STEPS(c, PLANNED_F) && intent[c] && !chooses[c] && RECOGNISED(c) ->	/* an earlier attempt got so far */
			take(c); step = MINTED; hand[r] = pending[c]
		:: STEPS(c, PLANNED_F) && intent[c] && chooses[c] && pending[c] ->	/* the same value once more */
			take(c); change(c); lost[c] = 1; committed(c); step = MINT; hand[r] = pending[c]
		:: STEPS(c, PLANNED_F) && intent[c] && !(chooses[c] -> pending[c] : RECOGNISED(c)) ->
			take(c); step = CLEAR
		:: (STEPS(c, STAGED_F) || STEPS(c, PROVEN_F)) && !((pending[c] | shown[c]) & new[c]) -> take(c); step = GONE
		:: STEPS(c, STAGED_F) && (pending[c] | shown[c]) & new[c] -> take(c); step = PROVEN
		:: STEPS(c, PROVEN_F) && (pending[c] | shown[c]) & new[c] ->
			take(c); step = (!touched[c] -> INTENDED : (IN_PLACE(c) -> WRITTEN : WRITE)); hand[r] = new[c];
#ifndef NO_PREVIOUS
			if :: shown[c] == current[c] -> previous[c] = current[c] :: else fi
#endif
		:: STEPS(c, PROVEN_R) && !KEPT(c) -> take(c); step = REPLACED
		:: STEPS(c, PROVEN_R) && KEPT(c) ->
			take(c); step = (!touched[c] -> INTENDED : (IN_PLACE(c) -> WRITTEN : WRITE)); hand[r] = current[c]
		:: ANYWAY(c, PUBLISHED) ->	/* consumers are asked; they read when they do */
			take(c); change(c); phase[c]++; committed(c); rest()
		:: ANYWAY(c, RELOADED) && GATE(c) -> take(c); step = VERIFIED
		:: (ANYWAY(c, RELOADED) || STEPS(c, VERIFIED_F)) && LOOKS(c) ->
			take(c); step = LOST
		:: STEPS(c, VERIFIED_F) && GATE(c) && !HELD(c) && (suspension[c] == 0 || suspension[c] == 2) -> take(c); step = TIDY
		:: STEPS(c, VERIFIED_F) && GATE(c) && !HELD(c) && SUSPENDS && current[c] && suspension[c] != 2 ->
			take(c); step = SUSPEND; change(c); suspension[c] = 1; committed(c)
		:: STEPS(c, STAGED_B) && (suspension[c] == 1 || suspension[c] == 2) && SUSPENSION_OVER(c) -> take(c); step = RESUME
		:: STEPS(c, STAGED_B) && (suspension[c] == 0 || suspension[c] == 3) -> take(c); step = (KEPT(c) -> PROVEN : ABSENT)
#ifdef RESTORES_NOTHING
		:: STEPS(c, PROVEN_B) -> take(c); change(c); phase[c] = DISCARDING_B; committed(c); rest()
#endif
		:: STEPS(c, PROVEN_B) ->
			take(c); step = (IN_PLACE(c) -> WRITTEN : (KEPT(c) -> WRITE : ABSENT)); hand[r] = current[c]
		:: STEPS(c, DISCARDING_B) -> take(c); step = UNDO
		:: STEPS(c, QUIET) && !wanted[c] && drifted[c] && current[c] ->
			take(c); change(c); phase[c] = PROVEN_R; committed(c); rest()
		:: LEDGERS(c) && sweep[c] && FOUND(c) ->
			take(c); change(c); owed[c] = owed[c] | FOUND(c); committed(c); rest()
		:: LEDGERS(c) && MAY_DIE(c) ->
			take(c); step = (owed[c] & LOWEST(MAY_DIE(c)) -> DYING : REVOKE); hand[r] = LOWEST(MAY_DIE(c))
#ifdef TAKES_INTENTS_FOR_DEATHS
		:: LEDGERS(c) && dying[c] -> take(c); change(c); dead[c] = dead[c] | dying[c]; dying[c] = 0; committed(c); rest()
#endif
		:: LEDGERS(c) && revoked[c] & ~alive[c] ->
			take(c); change(c);
			hand[r] = LOWEST(revoked[c] & ~alive[c]); revoked[c] = revoked[c] & ~hand[r]; dead[c] = dead[c] | hand[r];
			committed(c); rest()
		:: LEDGERS(c) && (revoked[c] & alive[c] & ~late_deaths[c]) ->	/* it lives still, long after: once more */
			take(c); change(c);
			hand[r] = LOWEST(revoked[c] & alive[c] & ~late_deaths[c]); revoked[c] = revoked[c] & ~hand[r]; dying[c] = dying[c] | hand[r];
			committed(c); rest()
		:: LEDGERS(c) && (dead[c] || sweep[c]) && !(owed[c] | dying[c] | revoked[c]) && (!sweep[c] || (MINTS_OVER(c) && !FOUND(c))) ->
			take(c); step = CLOSED;
			if :: pending[c] & dead[c] -> put_pending(c, NONE) :: else fi;
			if :: previous[c] & dead[c] -> previous[c] = NONE :: else fi
		fi
	}
}

/* The call was made, and whoever made it died before it was answered: it lands at some time, or never. */
inline unanswered(c)
{
	if
	:: step == MINT -> late_made[c]++
	:: step == STAGE -> late_pending[c] = late_pending[c] | hand[r]
	:: step == WRITE -> late_shown[c] = late_shown[c] | hand[r]; late_ours[c] = 1
	:: step == SUSPEND -> late_suspension[c] = current[c]
	:: step == REVOKE -> late_deaths[c] = late_deaths[c] | hand[r]
	:: else	/* clearing, resuming: the next one does it again, and its coming late changes nothing */
	fi
}

proctype Replica(byte r)
{
	byte here, step;
#define c here
end:
	do
	:: begin(0)
#if CREDENTIALS > 1
	:: begin(1)
#endif

	/* killed, between two steps or in a call; nothing is left in memory */
	:: atomic { step && crashes < CRASHES -> crashes++; rest() }
	:: atomic { (step == MINT || step == STAGE || step == WRITE || step == SUSPEND || step == REVOKE) && MAY_CALL && crashes < CRASHES ->
		crashes++; unanswered(c); rest() }

#ifdef NO_READ_BACK
	:: atomic { step == WRITE && MAY_CALL && crashes < CRASHES -> crashes++; unanswered(c); step = WRITTEN }
#endif

	/* the lease has run out, or the record has changed: no call is started, no commit is taken */
	:: atomic { step && step < COMMITS && !MAY_CALL -> rest() }
	:: atomic { step >= COMMITS && !(FENCED && UP_TO_DATE) -> rest() }

	/* calls */
	:: atomic { step == MINT && MAY_CALL ->
		alive[c] = alive[c] | hand[r]; made[c] = made[c] | hand[r]; step = (chooses[c] -> MINTED : STAGE) }
	:: atomic { step == STAGE && MAY_CALL -> put_pending(c, hand[r]); step = (chooses[c] -> MINT : MINTED) }
	:: atomic { step == CLEAR && MAY_CALL ->
#ifndef NO_CLEAR
		put_pending(c, NONE);
#endif
		step = ABANDONED }
	:: atomic { step == WRITE && MAY_CALL -> put_shown(c, hand[r], 1); step = WRITTEN }
	:: atomic { step == SUSPEND && MAY_CALL -> disabled[c] = current[c]; step = SUSPENDED }
	:: atomic { step == RESUME && MAY_CALL -> disabled[c] = 0; step = RESUMED }
	:: atomic { step == TIDY && MAY_CALL ->
		if :: pending[c] -> put_pending(c, NONE) :: else fi;
		step = AUTHORISED }
	:: atomic { step == UNDO && MAY_CALL ->
		put_pending(c, NONE);
		if :: shown[c] == current[c] -> previous[c] = NONE :: else fi;
		step = DISCARDED }
	:: atomic { step == REVOKE && MAY_CALL -> die(c, hand[r]); step = REVOKED }
	:: atomic { step == REVOKE && MAY_CALL && failures < FAILURES ->	/* answered, and it takes effect later, or never */
		failures++; late_deaths[c] = late_deaths[c] | hand[r]; step = REVOKED }

	/* commits */
#define COMMIT(which) (step == which && FENCED && UP_TO_DATE)
	:: atomic { COMMIT(MINTED) ->
		change(c); intent[c] = 0; new[c] = hand[r]; phase[c] = STAGED_F; close_mints(c); committed(c); rest() }
	:: atomic { COMMIT(MINTED) && failures < FAILURES ->	/* it is no good, for all to see */
		failures++; change(c); new[c] = hand[r]; turn(c, DISCARDING_B); committed(c); rest() }
	:: atomic { COMMIT(ABANDONED) ->
		change(c);
#ifdef MINTS_AGAIN
		made[c] = 0; late_made[c] = 0; intent[c] = 0;
#else
		give_up_mints(c);
#endif
		committed(c); rest() }
	:: atomic { COMMIT(PROVEN) ->
		change(c); phase[c]++; if :: suspension[c] == 3 -> suspension[c] = 0 :: else fi; committed(c); rest() }
	:: atomic { COMMIT(INTENDED) -> change(c); touched[c] = 1; committed(c); step = (IN_PLACE(c) -> WRITTEN : WRITE) }
	:: atomic { COMMIT(WRITTEN) -> change(c); wrote[c] = 1; phase[c]++; committed(c); rest() }
	:: atomic { COMMIT(VERIFIED) ->
		change(c);
		if
		:: FORWARD(c) -> phase[c] = VERIFIED_F
		:: phase[c] == RELOADED_B -> phase[c] = DISCARDING_B
		:: REPAIR(c) -> end_rotation(c); unproven[c] = 0; if :: previous[c] == shown[c] -> previous[c] = NONE :: else fi
		fi;
		committed(c); rest() }
	:: atomic { COMMIT(LOST) ->
		change(c); turn(c, (FORWARD(c) -> PROVEN_F : (REPAIR(c) -> PROVEN_R : PROVEN_B))); committed(c); rest() }
	:: atomic { COMMIT(SUSPENDED) -> change(c); suspension[c] = 2; committed(c); rest() }
	:: atomic { COMMIT(RESUMED) -> change(c); suspension[c] = 3; committed(c); rest() }
	:: atomic { COMMIT(AUTHORISED) ->
		assert(hold[c] != 1); assert(FORWARD(c));	/* 2: a person's stop that was accepted before goes first */
		change(c);
#ifdef OWES_THE_NEW
		owed[c] = owed[c] | new[c]; current[c] = new[c];
#else
		owed[c] = owed[c] | current[c]; current[c] = new[c];
#endif
		give_up_mints(c); end_rotation(c); unproven[c] = 0;
		committed(c); rest() }
	:: atomic { COMMIT(DISCARDED) ->
		change(c);
		if :: touched[c] && !wrote[c] -> unproven[c] = unproven[c] | new[c] :: else fi;
#ifndef DISCARDS_WITHOUT_OWING
		owed[c] = owed[c] | new[c];
#endif
		give_up_mints(c); end_rotation(c);
		if :: !current[c] -> wanted[c] = 1 :: else fi;	/* it is tried again */
		committed(c); rest() }
	:: atomic { COMMIT(GONE) ->
		assert(losses);
		change(c);
		if
		:: !touched[c] || current[c] -> turn(c, (touched[c] -> STAGED_B : DISCARDING_B))
		:: else -> halted[c] = 3
		fi;
		committed(c); rest() }
	:: atomic { COMMIT(REPLACED) -> change(c); end_rotation(c); wanted[c] = 1; committed(c); rest() }
	:: atomic { COMMIT(ABSENT) ->
		assert(losses);	/* 1: there is a way back, unless somebody else took it */
		change(c); halted[c] = 2; if :: suspension[c] == 3 -> suspension[c] = 0 :: else fi; committed(c); rest() }
	:: atomic { COMMIT(DYING) ->
		assert(hold[c] != 1);
		change(c); owed[c] = owed[c] & ~hand[r]; dying[c] = dying[c] | hand[r]; committed(c); step = REVOKE }
	:: atomic { COMMIT(REVOKED) ->
		change(c); dying[c] = dying[c] & ~hand[r]; revoked[c] = revoked[c] | hand[r]; committed(c); rest() }
	:: atomic { COMMIT(CLOSED) -> change(c); dead[c] = 0; sweep[c] = 0; committed(c); rest() }
	od
#undef c
}

/* What happens by itself, and what people do. */
inline happen(c)
{
	atomic {
		if
		:: late_made[c] -> late_made[c]--; land(c, made[c])
		:: late_made[c] -> late_made[c]--
		:: late_orphans[c] -> late_orphans[c]--; land(c, orphans[c])
		:: late_orphans[c] -> late_orphans[c]--
		:: late_pending[c] -> v = LOWEST(late_pending[c]); late_pending[c] = late_pending[c] & ~v; put_pending(c, v)
		:: late_pending[c] -> late_pending[c] = 0
		:: late_shown[c] -> v = LOWEST(late_shown[c]); late_shown[c] = late_shown[c] & ~v; put_shown(c, v, late_ours[c])
		:: late_shown[c] -> late_shown[c] = 0; late_ours[c] = 0
		:: late_deaths[c] -> v = LOWEST(late_deaths[c]); late_deaths[c] = late_deaths[c] & ~v; die(c, v)
		:: late_deaths[c] -> late_deaths[c] = 0
		:: late_suspension[c] -> disabled[c] = late_suspension[c]; late_suspension[c] = 0
		:: late_suspension[c] -> late_suspension[c] = 0

		:: shown[c] && used[c] != shown[c] -> used[c] = shown[c]	/* a consumer reads */
		:: shown[c] && losses < LOSSES -> losses++; shown[c] = NONE; ours[c] = 0; drifted[c] = 1; late_shown[c] = 0; late_ours[c] = 0

		:: FORWARD(c) && (current[c] || !touched[c]) && ((current[c] && KEPT(c)) || failures < FAILURES) ->	/* back, by a person or the gate */
			if :: current[c] && KEPT(c) -> skip :: else -> failures++ fi;
			change(c); turn(c, (touched[c] -> STAGED_B : DISCARDING_B)); changed(c)
		:: HOLDS && hold[c] == 0 -> change(c); hold[c] = 1; changed(c)
		:: hold[c] == 1 -> change(c); hold[c] = 2; changed(c)

		:: !halted[c] && failures < FAILURES && !(FORWARD(c) && current[c]) && (REPAIR(c) || touched[c] || phase[c] == DISCARDING_B) ->
			failures++; change(c); halted[c] = 1; changed(c)
		:: halted[c] == 1 ->	/* a person says: again */
			change(c);
			if
			:: phase[c] == RELOADED_F -> turn(c, PROVEN_F)
			:: phase[c] == RELOADED_B -> turn(c, PROVEN_B)
			:: phase[c] == RELOADED_R -> turn(c, PROVEN_R)
			:: else -> halted[c] = 0
			fi;
			changed(c)
		:: (halted[c] == 1 || halted[c] == 3) && FORWARD(c) -> change(c); turn(c, DISCARDING_B); wanted[c] = 1; changed(c)
		:: halted[c] == 1 && REPAIR(c) -> change(c); end_rotation(c); drifted[c] = 1; changed(c)
		:: halted[c] == 2 ->	/* the new one is accepted */
			change(c); turn(c, PROVEN_F); if :: suspension[c] -> suspension[c] = 1 :: else fi; changed(c)
		:: REPAIR(c) && failures < FAILURES -> failures++; change(c); end_rotation(c); wanted[c] = 1; changed(c)
		fi;
		v = 0
	}
}

proctype World()
{
	byte v;
end:
	do
	:: happen(0)
#if CREDENTIALS > 1
	:: happen(1)
#endif
	od
}

#if LOSSES && FAILURES
/* A copy of what is current may stay in previous: where the destination was emptied, a repair of it was ended by a person, the next
   rotation too, and the repair's unanswered write landed just when that one had seen that previous must be kept. */
#define NO_COPY(c) (previous[c] == NONE || previous[c] == current[c])
#else
#define NO_COPY(c) (previous[c] == NONE)
#endif
#define ONE_LIVES(c) ((alive[c] & ~STRAY) == current[c] && shown[c] == current[c] && pending[c] == NONE && NO_COPY(c))
#define RIGHT(c) (WORKS(c, shown[c]) && WORKS(c, used[c]) && (!SETTLED(c) || ONE_LIVES(c)) && (alive[c] & STRAY))
inline judge(c)
{
	atomic {
		!RIGHT(c) ->
		assert(WORKS(c, shown[c]) && WORKS(c, used[c]));	/* 1 */
		assert(!SETTLED(c) || ONE_LIVES(c));	/* 3 */
		assert(alive[c] & STRAY)	/* 10 */
	}
}

/* Looks at every state; and at each where nothing can happen any more. */
proctype Judge()
{
end:
	do
	:: judge(0)
#if CREDENTIALS > 1
	:: judge(1)
#endif
	:: timeout ->
		assert(SETTLED(0));	/* 8 */
#if CREDENTIALS > 1
		assert(SETTLED(1));
#endif
		break
	od
}

inline start(c)
{
	alive[c] = STRAY; wanted[c] = 1;
	if
	:: true
#if CHOOSES
	:: chooses[c] = 1
#endif
	fi;
	if
	:: current[c] = BASE; shown[c] = BASE; used[c] = BASE; alive[c] = STRAY | BASE
#if FIRST
	:: skip
#endif
	fi
}

init
{
	atomic {
		start(0);
#if CREDENTIALS > 1
		start(1);
#endif
		run Replica(0); run Replica(1); run World(); run Judge()
	}
}
