/* Taking a message out of a live queue: qwarden's steps against qmail-send, each killed at any point, the machine losing its power,
 * and the queue's numbers used again. `make model` runs it; docs/RELIABILITY.md says what follows from it.
 *
 * One queue number. The message of generation OURS has two recipients in one recipient file and is to be set aside; STRANGER is a
 * later message that gets the same number. A block in atomic{} is one system call (or several that nothing can come between).
 *
 * qmail-send: INTERNALS and qmail-send.c (todo_do, pass_dochan, del_dochan, job_close, messdone, injectbounce).
 * qwarden: Retirement, EntryFiles, BounceFile, Recovery, DepartingEntry, Responder.retire.
 *
 * Each guard can be left out with -DNO_…; what then goes wrong is what the guard is for:
 *   NO_TODO_CHECK  NO_IDENTITY_CHECK  NO_PIN  NO_LOOK  NO_PAUSE  NO_COPY_FIRST  NO_FLUSH (with POWER)  NO_SWEEP  NO_LOOK_BACK
 *   NO_LOOK_AFTER_RECOVERY
 */
#define OURS 1
#define STRANGER 2
#define BIT(r) (1 << (r))
#define BOTH 3
#define FOREIGN 4               /* the stranger's text in a bounce file */

#ifndef SEND_KILLS
#define SEND_KILLS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

/* ---- On disk: outlives both programs ---- */
byte mess, todo;                /* generation, 0: no such file */
byte info, infoGen, births;     /* info's mtime, which is the identity, and whose it is */
byte rcpt, inodes;              /* inode of the recipient file under its name */
byte pend[5], fileGen[5];       /* by inode: recipients with T; whose file */
byte bounce, aside;             /* whose texts stand in bounce/ID and in the file moved aside */
bool wroteLater;                /* qmail has written to the recipient file since our last note, by their mtimes */
bool linked;                    /* both names are one file */
bool copied, flushed;           /* the copy with its envelope; whether it would outlive the machine */
byte envP, envM, envX, envF;    /* the envelope's letters: pending, ours, in doubt, finished by qmail */
byte lastNoted;                 /* the last recipient noted as ours, as a bit */
mtype = { NONE, INTENDED, COPIED, MARKED, GONE };
mtype row = NONE;               /* the ledger */
byte want;                      /* identity in the ledger */

/* ---- qmail-send's memory ---- */
bool sendUp = true;
mtype = { IDLE, T1, T2, T3, T4, BOUNCED, D1, D2, D3, DEAD };
mtype phase = IDLE;
bool inChan, inDone;            /* waits in pqchan, in pqdone */
bool passing, ahead, eof, job;  /* a pass is open; it has read the whole file at once */
byte passAt, passBuf, passFile, refs, numtodo, jobGen;
byte failing;                   /* recipient whose failure is being written */

/* ---- Deliveries: QUEUED is told to qmail-rspawn and has no process yet, ENDED has none any more ---- */
mtype = { QUEUED, RUNNING, OK, DEFERRED, FAILED };
mtype del[2] = NONE;
byte orphanQueued, orphanRunning; /* outlive the qmail-send that began them */

/* ---- qwarden's memory ---- */
mtype = { W_CHOOSE, W_LOOK, W_OPEN, W_CHECK, W_COPY, W_FLUSH, W_COPIED, W_SWEEP, W_MOVE, W_MOVED, W_LOOK2, W_BACK, W_LINK,
  W_LINKED, W_DELETE, W_CHECK2, W_NOTE, W_MARK, W_SETTLE, W_LOOK3, W_RECORD, W_WATCH, W_AWAY, W_MOVE2, W_MOVED2, W_RECOVER, W_REC2,
  W_REC_MOVE, W_REC_MOVED, W_REC_LOOK, W_REC_OPEN, W_END };
mtype w = W_CHOOSE;
byte held;                      /* inode held open */
bool pin;                       /* mess/ID held open: its number cannot be used again */
byte at;                        /* recipient at hand */
bool recovering;
byte seen;                      /* who was being delivered to at the look before recovery */
byte powerCuts;

/* ---- Not in any program: for the claims ---- */
byte delivered, failed, marked, staleRead, excused, sweptText;
bool marksLost;
/* True when the claim of that name is broken; pan then names it. */
bool lost, givenTwice, deliveredAfterMark, bounceAfterSweep, strangerTouched;
#define claim(broken, holds) if :: holds -> skip :: else -> broken = true; assert(!broken) fi

#define busyWith(r) (del[r] == RUNNING || orphanRunning & BIT(r))
#define underWay(r) (del[r] != NONE || (orphanQueued | orphanRunning) & BIT(r))
#define look ((busyWith(0) -> 1 : 0) | (busyWith(1) -> 2 : 0))
/* A pause of 10 ms: qmail-rspawn has started what it was told to, qmail-send has written what it was told. */
#ifdef NO_PAUSE
#define paused true
#else
#define between(r) (del[r] == QUEUED || del[r] == OK || del[r] == DEFERRED || del[r] == FAILED)
#define paused (!orphanQueued && phase != BOUNCED && (!sendUp || (!between(0) && !between(1))))
#endif
#ifdef NO_IDENTITY_CHECK
#define same true
#else
#define same (info == want && (rcpt == 0 || rcpt == held))
#endif
#ifdef NO_TODO_CHECK
#define taken true
#else
#define taken (todo == 0)
#endif
#define holds (taken && info != 0 && same)
#ifdef NO_LATER_WRITES
#define late false
#else
#define late wroteLater
#endif
#define ourFile (held != 0 && fileGen[held] == OURS)

/* Claim 1, never lost: each recipient of ours is to do in the queue, or delivered, or failed, or in a whole copy. */
#define inQueue(r) (mess == OURS && (todo == OURS || (rcpt != 0 && fileGen[rcpt] == OURS && pend[rcpt] & BIT(r))))
#define inCopy(r) (copied && (envP | envM | envX) & BIT(r))
#define safe(r) (inQueue(r) || (delivered | failed) & BIT(r) || inCopy(r))
/* Claim 2, never given twice: what counts as ours to release without doubt was not delivered. Three cases are excused, because nothing on
 * the machine but qmail-send's log tells of them: a pass that had read the record before the mark and starts its delivery after the last
 * look (LATE); a delivery that began and ended while the marks were made (QUICK); one whose report qmail itself lost (OWN_DOUBLE). */
#ifdef LIMIT_LATE
#define LATE(who) skip
#else
#define LATE(who) excused = excused | (who)
#endif
#ifdef LIMIT_QUICK
#define QUICK(who) skip
#else
#define QUICK(who) excused = excused | (who)
#endif
#ifdef LIMIT_OWN_DOUBLE
#define OWN_DOUBLE(who) skip
#else
#define OWN_DOUBLE(who) excused = excused | (who)
#endif
#define releasable (row == MARKED || row == GONE -> envM : 0)
#define twice (releasable & delivered & ~excused)

#define forgetSend phase = IDLE; inChan = false; inDone = false; passing = false; job = false; ahead = false; eof = false; \
  passAt = 0; passBuf = 0; passFile = 0; refs = 0; numtodo = 0; jobGen = 0; failing = 0; staleRead = 0
#define orphan(r) if \
  :: del[r] == QUEUED -> orphanQueued = orphanQueued | (jobGen == OURS -> BIT(r) : 0) \
  :: del[r] == RUNNING -> orphanRunning = orphanRunning | (jobGen == OURS -> BIT(r) : 0) \
  :: del[r] == OK && jobGen == OURS -> OWN_DOUBLE(BIT(r)) \
  :: else fi; del[r] = NONE
#define markdone(r) if \
  :: rcpt != 0 -> pend[rcpt] = pend[rcpt] & ~BIT(r); \
     if :: w == W_NOTE || w == W_MARK || w == W_SETTLE -> QUICK(BIT(r) & (marked | lastNoted)) \
        :: else -> wroteLater = (envM != 0) fi \
  :: else fi
#define closeJob refs--; if \
  :: refs == 0 -> job = false; jobGen = 0; if \
    :: eof && numtodo == 0 -> rcpt = 0; inDone = true \
    :: else -> inChan = true fi; eof = false; numtodo = 0 \
  :: else fi

/* The world puts the message into the queue, and later another under its number (not with POWER, to keep that run short,
 * which also lets qmail-send always read ahead). */
proctype World() {
  atomic { mess = OURS; todo = OURS };
#ifndef POWER
  atomic { mess == 0 && todo == 0 && !pin -> mess = STRANGER; todo = STRANGER }
#endif
}

proctype Delivery(byte r) {
  do
  :: atomic { del[r] == QUEUED -> del[r] = RUNNING }
  :: atomic { del[r] == RUNNING -> del[r] = OK;
       if :: jobGen == OURS -> delivered = delivered | BIT(r) :: else fi }
  :: atomic { del[r] == RUNNING -> del[r] = DEFERRED }
  :: atomic { del[r] == RUNNING -> del[r] = FAILED }
  :: atomic { orphanQueued & BIT(r) -> orphanQueued = orphanQueued & ~BIT(r); orphanRunning = orphanRunning | BIT(r) }
  :: atomic { orphanRunning & BIT(r) -> orphanRunning = orphanRunning & ~BIT(r); 
       if :: delivered = delivered | BIT(r); OWN_DOUBLE(BIT(r)) :: skip fi }
  od
}

proctype Send() {
  byte kills;
end:
  do
  :: atomic { sendUp && kills < SEND_KILLS && (mess || todo) -> kills++; sendUp = false; orphan(0); orphan(1); forgetSend }
  :: atomic { !sendUp -> sendUp = true; /* pqstart, pqadd */
       if :: info != 0 && todo == 0 && rcpt != 0 -> inChan = true
          :: info != 0 && todo == 0 && rcpt == 0 -> inDone = true
          :: else fi }
  /* cleanup after 36 hours */
  :: atomic { sendUp && phase == IDLE && mess != 0 && info == 0 && todo == 0 -> mess = 0 }
  /* todo_do */
  :: atomic { sendUp && phase == IDLE && todo != 0 -> rcpt = 0; phase = T1 }
  :: atomic { phase == T1 -> info = 0; infoGen = 0; phase = T2 }
  :: atomic { phase == T2 -> births++; info = births; infoGen = todo; phase = T3 }
  :: atomic { phase == T3 -> inodes++; rcpt = inodes; fileGen[inodes] = todo; pend[inodes] = (todo == OURS -> BOTH : 1);
       phase = T4 }
  :: atomic { phase == T4 -> todo = 0; inChan = true; phase = IDLE }
  /* pass_dochan */
  :: atomic { sendUp && phase == IDLE && inChan && !job && rcpt != 0 && info != 0 ->
       inChan = false; job = true; passing = true; refs = 1; jobGen = infoGen; passAt = 0; passFile = rcpt;
       passBuf = pend[rcpt]; staleRead = 0; 
       if :: ahead = true
#ifndef POWER
          :: ahead = false
#endif
       fi }
  :: atomic { sendUp && phase == IDLE && passing && passAt < 2 && del[passAt] == NONE ->
       if
       :: (ahead -> passBuf : pend[passFile]) & BIT(passAt) ->
            /* Claim 3, never delivered after the mark, unless it was read before it. */
            claim(deliveredAfterMark, jobGen != OURS || !(marked & BIT(passAt)) || marksLost || staleRead & BIT(passAt));
            if :: jobGen == OURS && marked & BIT(passAt) -> LATE(BIT(passAt)) :: else fi;
            numtodo++; refs++; del[passAt] = QUEUED
       :: else
       fi; passAt++ }
  :: atomic { sendUp && phase == IDLE && passing && passAt == 2 -> passing = false; passFile = 0; passBuf = 0; passAt = 0; ahead = false;
       eof = true; closeJob }
  /* del_dochan */
  :: atomic { sendUp && phase == IDLE && del[0] == OK -> del[0] = NONE; markdone(0); numtodo--; closeJob }
  :: atomic { sendUp && phase == IDLE && del[1] == OK -> del[1] = NONE; markdone(1); numtodo--; closeJob }
  :: atomic { sendUp && phase == IDLE && del[0] == DEFERRED -> del[0] = NONE; closeJob }
  :: atomic { sendUp && phase == IDLE && del[1] == DEFERRED -> del[1] = NONE; closeJob }
  :: atomic { sendUp && phase == IDLE && del[0] == FAILED -> failing = 0; phase = BOUNCED;
       bounce = bounce | (jobGen == OURS -> 1 : FOREIGN); sweptText = sweptText & ~1 }
  :: atomic { sendUp && phase == IDLE && del[1] == FAILED -> failing = 1; phase = BOUNCED;
       bounce = bounce | (jobGen == OURS -> 2 : FOREIGN); sweptText = sweptText & ~2 }
  :: atomic { phase == BOUNCED -> del[failing] = NONE; phase = IDLE;
       markdone(failing);
       if :: jobGen == OURS -> failed = failed | BIT(failing) :: else fi;
       failing = 0; numtodo--; closeJob }
  /* messdone */
  :: atomic { sendUp && phase == IDLE && inDone -> inDone = false;
       if :: rcpt != 0 || todo != 0 || info == 0
          :: else ->
            if :: bounce != 0 ->
                 /* Claim 4, never a bounce after the sweep: of what was swept nothing is sent once we have marked. */
                 claim(bounceAfterSweep, !(infoGen == OURS && marked && bounce & sweptText));
                 /* Claim 5, nobody else's message touched: no sender is told of another's failures. */
                 claim(strangerTouched, !(infoGen == STRANGER && bounce & BOTH) && !(infoGen == OURS && bounce & FOREIGN))
               :: else fi;
            phase = D1 fi }
  :: atomic { phase == D1 -> bounce = 0; linked = false; phase = D2 }
  :: atomic { phase == D2 -> info = 0; infoGen = 0; phase = D3 }
  :: atomic { phase == D3 -> mess = 0; phase = IDLE }
  od
}

/* The text moved aside is not wanted any more, nor is what a kill left of it under the message's own name. */
#define dropAside if :: linked -> bounce = 0 :: else fi; linked = false; aside = 0
#define forget held = 0; pin = false; at = 0; recovering = false; seen = 0
#define pinIt pin = (mess == OURS)
#ifdef NO_PIN
#define stillPinned pin = false
#else
#define stillPinned skip
#endif

#ifdef LIMIT_KILLED_WHILE_PUTTING_BACK
#define killable true
#else
#define killable (w != W_LINKED)
#endif

proctype Qwarden() {
  byte kills;
end:
  do
  :: atomic { kills < KILLS && w != W_CHOOSE && w != W_END && killable -> kills++; forget; w = W_RECOVER }

  /* The intent. The identity is read off info; a message that is in todo is left for later. */
  :: atomic { w == W_CHOOSE && infoGen == OURS && taken -> want = info; row = INTENDED; w = W_LOOK }
  /* Responder.retire: a look, then Retirement.open */
#ifdef NO_LOOK
  :: atomic { w == W_LOOK -> w = W_OPEN }
#else
  :: atomic { w == W_LOOK && paused && look == 0 -> w = W_OPEN }
#endif
  :: atomic { w == W_OPEN -> pinIt; held = rcpt; w = W_CHECK }
  :: atomic { w == W_CHECK ->
       if :: holds && held != 0 && pend[held] != 0 && mess != 0 -> w = W_COPY
#ifdef NO_COPY_FIRST
          envP = pend[held]; w = W_CHECK2
#endif
          :: else -> forget; row = NONE; w = W_END fi }
  :: atomic { w == W_COPY -> claim(strangerTouched, ourFile); envP = pend[held]; envM = 0; envX = 0; envF = 0; lastNoted = 0; wroteLater = false;
       copied = true; flushed = false; stillPinned; w = W_FLUSH }
#ifdef NO_FLUSH
  :: atomic { w == W_FLUSH -> w = W_COPIED }
#else
  :: atomic { w == W_FLUSH -> flushed = true; w = W_COPIED }
#endif
  :: atomic { w == W_COPIED -> row = COPIED; w = W_SWEEP }

  /* BounceFile.moveAside: check, a recipient file stands, rename, check */
#ifdef NO_SWEEP
  :: atomic { w == W_SWEEP -> sweptText = bounce & BOTH; w = W_LOOK2 }
#else
  :: atomic { w == W_SWEEP -> if :: bounce == 0 -> w = W_LOOK2
                                :: bounce != 0 && holds && rcpt != 0 -> w = W_MOVE
                                :: bounce != 0 && holds && rcpt == 0 -> w = W_LOOK2
                                :: else -> w = W_BACK fi }
#endif
  :: atomic { w == W_MOVE -> claim(strangerTouched, !(bounce & FOREIGN)); aside = aside | bounce; sweptText = sweptText | (bounce & BOTH); bounce = 0; linked = false; w = W_MOVED }
  :: atomic { w == W_MOVED -> if :: holds -> w = W_LOOK2 :: else -> w = W_BACK fi }

  /* The second look: busy ones are put back, unmarked. */
#ifdef NO_LOOK
  :: atomic { w == W_LOOK2 -> w = W_CHECK2 }
#else
  :: atomic { w == W_LOOK2 && paused && (look & envP) == 0 -> w = W_CHECK2 }
  :: atomic { w == W_LOOK2 && (look & envP) != 0 -> w = W_BACK }
#endif
  /* Retirement.cancel: the bounce put back by link(2) and looked at again, or dropped where the message has gone */
  :: atomic { w == W_BACK -> if :: aside == 0 -> w = W_DELETE
                               :: aside != 0 && holds && rcpt != 0 -> w = W_LINK
                               :: else -> dropAside; w = W_DELETE fi }
  :: atomic { w == W_LINK -> linked = (bounce == 0); bounce = bounce | aside; w = W_LINKED }
#ifdef NO_LOOK_BACK
  :: atomic { w == W_LINKED -> linked = false; aside = 0; sweptText = 0; w = W_DELETE }
#else
  :: atomic { w == W_LINKED -> if :: holds && rcpt != 0 -> linked = false; aside = 0 :: else -> dropAside fi; sweptText = 0; w = W_DELETE }
#endif
  :: atomic { w == W_DELETE -> copied = false; flushed = false; envP = 0; envM = 0; envX = 0; envF = 0; lastNoted = 0; forget;
       if :: info == want -> row = INTENDED; w = W_LOOK :: else -> row = NONE; w = W_END fi }

  /* Retirement.mark: check; of each recipient note, read again, write D */
  :: atomic { w == W_CHECK2 -> at = 0; if :: holds -> w = W_NOTE :: recovering -> w = W_RECOVER :: else -> w = W_BACK fi }
  :: atomic { w == W_NOTE && at < 2 ->
       if :: !(envP & BIT(at)) -> at++
          :: envP & BIT(at) && !(pend[held] & BIT(at)) -> envP = envP & ~BIT(at); envF = envF | BIT(at); at++
          :: envP & BIT(at) && pend[held] & BIT(at) -> envP = envP & ~BIT(at); envM = envM | BIT(at); lastNoted = BIT(at); w = W_MARK fi }
  :: atomic { w == W_MARK ->
       if :: !(pend[held] & BIT(at)) -> envM = envM & ~BIT(at); envF = envF | BIT(at)
          :: else ->
            claim(strangerTouched, ourFile);
            pend[held] = pend[held] & ~BIT(at); marked = marked | BIT(at); wroteLater = false;
            if :: passing && ahead && passFile == held && passAt <= at && passBuf & BIT(at) -> staleRead = staleRead | BIT(at) :: else fi
       fi; at++; w = W_NOTE }
  :: atomic { w == W_NOTE && at == 2 -> w = W_SETTLE }
  :: atomic { w == W_SETTLE -> aside = 0; lastNoted = 0;
#ifdef NO_COPY_FIRST
       copied = true;
#endif
#ifdef NO_LOOK_AFTER_RECOVERY
       if :: recovering -> w = W_RECORD :: else -> w = W_LOOK3 fi }
#else
       w = W_LOOK3 }
#endif
  /* noteDeliveries: who is being delivered to now, and who was read ahead with him, is in doubt */
#ifdef NO_LOOK
  :: atomic { w == W_LOOK3 -> w = W_RECORD }
#else
  :: atomic { w == W_LOOK3 && paused ->
       at = look; if :: at & 1 || late -> at = BOTH :: else fi;
       envX = envX | (envM & at); envM = envM & ~at; at = 0; w = W_RECORD }
#endif
  :: atomic { w == W_RECORD -> forget;
       if :: (envM | envX) == 0 -> w = W_BACK
          :: else -> row = MARKED; w = W_WATCH fi }

  /* DepartingEntry: sweeps until the entry is gone */
  :: atomic { w == W_WATCH && (bounce != 0 || info != want || todo != 0) ->
#ifndef NO_PIN
       pinIt;
#endif
       held = rcpt; w = W_AWAY }
  :: atomic { w == W_AWAY ->
       if :: !holds -> aside = 0; row = GONE; forget; w = W_END
          :: holds && bounce != 0 && rcpt != 0 -> w = W_MOVE2
          :: else -> forget; w = W_WATCH fi }
  :: atomic { w == W_MOVE2 -> claim(strangerTouched, !(bounce & FOREIGN)); aside = aside | bounce; bounce = 0; w = W_MOVED2 }
  :: atomic { w == W_MOVED2 -> aside = 0; forget; w = W_WATCH }

  /* The next start: Recovery.finish */
  :: atomic { w == W_RECOVER ->
       if
       :: row == NONE -> w = W_CHOOSE
       :: row == MARKED -> w = W_WATCH
       :: row == GONE -> w = W_END
       :: (row == INTENDED || row == COPIED) && !copied -> row = INTENDED; w = W_LOOK
       :: (row == INTENDED || row == COPIED) && copied ->
            recovering = true; w = W_REC_LOOK
       fi }
#ifdef NO_LOOK
  :: atomic { w == W_REC_LOOK -> w = W_REC_OPEN }
#else
  :: atomic { w == W_REC_LOOK && paused -> seen = look; w = W_REC_OPEN }
#endif
  :: atomic { w == W_REC_OPEN ->
#ifndef NO_PIN
       pinIt;
#endif
       held = rcpt; w = W_REC2 }
  :: atomic { w == W_REC2 ->
       if
       :: !taken && info == want -> forget; w = W_RECOVER
       :: !holds && (taken || info != want) ->
            /* gone: what was not noted was finished by qmail, and of the others nobody knows whether a delivery was under way. */
            dropAside; envF = envF | envP; envP = 0;
            envX = envX | envM; envM = 0; forget;
            if :: (envM | envX) != 0 -> row = MARKED; w = W_WATCH
               :: else -> copied = false; row = NONE; w = W_END fi
       :: holds ->
            /* the table in Recovery: P with D is qmail's, M with T was not marked, M with D is ours; in doubt if qmail wrote
               later, if it is being delivered to, or after a restart of the machine */
            envF = envF | (envP & ~pend[held]); envP = envP & pend[held];
            envP = envP | (envM & pend[held]); envM = envM & ~pend[held];
            if :: late || powerCuts || seen & envM & 1 -> envX = envX | envM; envM = 0
               :: else -> envX = envX | (envM & seen); envM = envM & ~seen fi;
            if :: (envM | envX) == 0 && envP != 0 -> w = W_BACK
               :: (envM | envX) == 0 && envP == 0 -> w = W_BACK
               :: (envM | envX) != 0 && (seen & envP) == 0 -> w = W_REC_MOVE
               :: (envM | envX) != 0 && (seen & envP) != 0 -> forget; w = W_RECOVER fi
       fi }
  :: atomic { w == W_REC_MOVE ->
       if :: bounce != 0 && holds && rcpt != 0 -> w = W_REC_MOVED
          :: else -> w = W_CHECK2 fi }
  :: atomic { w == W_REC_MOVED -> claim(strangerTouched, !(bounce & FOREIGN)); aside = aside | bounce; bounce = 0; w = W_CHECK2 }
  od
}

#ifdef POWER
/* The machine goes down: what was not flushed may be lost, each mark by itself. */
proctype Power() {
  atomic { powerCuts == 0 && w != W_CHOOSE && w != W_END && killable ->
    powerCuts++; sendUp = false; orphan(0); orphan(1); orphanQueued = 0; orphanRunning = 0; forgetSend;
    if :: !flushed -> copied = false; envP = 0; envM = 0; envX = 0; envF = 0; row = NONE :: else fi;
    if :: rcpt != 0 && fileGen[rcpt] == OURS && (pend[rcpt] & 1) == 0 && marked & 1 -> pend[rcpt] = pend[rcpt] | 1; marked = marked & ~1; marksLost = true :: skip fi;
    if :: rcpt != 0 && fileGen[rcpt] == OURS && (pend[rcpt] & 2) == 0 && marked & 2 -> pend[rcpt] = pend[rcpt] | 2; marked = marked & ~2; marksLost = true :: skip fi;
    forget; w = (row == NONE -> W_END : W_RECOVER)
  }
}
#endif

/* Never runs as long as the first two claims hold. */
proctype Claims() {
  atomic { births && !(safe(0) && safe(1)) -> claim(lost, false) }
}
proctype Once() {
  atomic { twice != 0 && !marksLost -> claim(givenTwice, false) }
}

init {
  atomic {
    run World(); run Delivery(0); run Delivery(1); run Send(); run Qwarden(); run Claims(); run Once();
#ifdef POWER
    run Power()
#endif
  }
}
