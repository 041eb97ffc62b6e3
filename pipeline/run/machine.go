package run

import "time"

// Phase is where a task is in its life.
type Phase int32

// The phases, in the order a task goes through them. Any may end in Lost or
// Failed.
const (
	Unassigned Phase = iota
	Fence            // taking the lock, opening the journal
	Locate           // finding the last committed step and the newest checkpoint
	Restore          // loading the checkpoint, reading the journal behind it
	Replay           // feeding the journaled steps after the checkpoint
	Live             // processing new input
	Drain            // finishing what was begun
	Lost             // another worker has the task
	Failed
)

func (p Phase) String() string {
	return [...]string{"unassigned", "fence", "locate", "restore", "replay", "live", "drain", "lost", "failed"}[p]
}

// machine decides what a task does next. It knows no clock, broker or disk: it is
// told what came of what the task did, and says what to do now. task.go does it.
// docs/task.md draws it.
type machine struct {
	doing   doing
	source  source
	planned bool  // a loss will be accepted once the task is restored
	accept  bool  // the policy allows for losses
	why     event // that made it look for a way around
}

// doing is what a task does.
type doing uint8

const (
	fencing    doing = iota // take the lock, open the journal
	locating                // make the newest checkpoint the local one
	restoring               // load it, check it against the journal
	replaying               // feed the steps behind it
	recalling               // fetch the checkpoint of the state topic instead
	rebuilding              // drop the checkpoint, if the journal and the input reach back to the first step
	surveying               // look through the journal for losses accepted before
	planning                // decide what to give up
	accepting               // commit the decision
	living                  // process new input
	draining                // commit and save what was begun
	keeping                 // save what was replayed
	pausing                 // wait before going on with more care
	confirming              // wait until the group says that the task is this worker's
	ended
	failed
	doings // how many there are
)

func (d doing) String() string {
	return [...]string{"fencing", "locating", "restoring", "replaying", "recalling", "rebuilding", "surveying", "planning", "accepting",
		"living", "draining", "keeping", "pausing", "confirming", "ended", "failed"}[d]
}

// phase is what others are told.
func (d doing) phase() Phase {
	return [...]Phase{Fence, Locate, Restore, Replay, Locate, Locate, Locate, Locate, Restore,
		Live, Drain, Replay, Unassigned, Lost, Unassigned, Failed}[d]
}

// event is what came of what a task did.
type event uint8

const (
	done     event = iota // all of it
	recalled              // the checkpoint of the state topic is the local one now
	more                  // there are steps behind the checkpoint
	none                  // there is nothing of the kind: no remote checkpoint, no accepted loss, no word of the group
	stopped               // the worker gives the task up; what was begun may be finished
	killed                // it must end now
	lost                  // another worker has taken the lock
	unusable              // the checkpoint is damaged, or no state of this journal
	gone                  // journal or input that is needed does not exist any more
	givenUp               // steps were replayed that the journal gives up further on
	spoiled               // its state is: it failed on its input, or the local store was lost
	broken                // anything else
	events                // how many there are
)

func (e event) String() string {
	return [...]string{"done", "recalled", "more", "none", "stopped", "killed", "lost", "unusable", "gone", "given up", "spoiled", "broken"}[e]
}

// source is where the state comes from.
type source uint8

const (
	fromLocal   source = iota // the local checkpoint
	fromRemote                // the remote one, which is a local one now
	fromJournal               // nothing: every step is replayed
)

func (s source) String() string { return [...]string{"local", "remote", "journal"}[s] }

// next returns what to do after an event.
func (m machine) next(e event) machine {
	switch {
	case m.doing == failed:
		return m
	case m.doing == ended:
		if e == broken { // in closing what it used
			m.doing = failed
		}
		return m
	case e == killed:
		m.doing = ended
		return m
	case e == lost:
		m.doing = confirming
		return m
	}
	switch m.doing {
	case fencing:
		return m.before(e, locating)
	case locating:
		if e == recalled {
			m.source, m.doing = fromRemote, restoring
			return m
		}
		return m.before(e, restoring)
	case restoring, replaying:
		switch {
		case e == more:
			m.doing = replaying
			return m
		case e == stopped:
			m.doing = keeping
			return m
		case e == recalled && m.source == fromLocal:
			m.source, m.doing = fromRemote, restoring
			return m
		case e == unusable && m.source == fromLocal:
			m.doing = recalling
			return m
		case e == unusable && m.source == fromRemote:
			m.doing = rebuilding
			return m
		case m.planned:
			return m.before(e, accepting)
		}
		return m.before(e, living)
	case recalling:
		if e == none {
			m.doing = rebuilding
			return m
		}
		if e == recalled {
			m.source, m.doing = fromRemote, restoring
			return m
		}
		return m.before(e, failed)
	case rebuilding:
		if e == done {
			m.source = fromJournal
		}
		return m.before(e, restoring)
	case surveying:
		if e == none && m.why == gone && m.accept {
			m.doing = planning
			return m
		}
		return m.again(e)
	case planning:
		if e == done {
			m.planned = true
		}
		return m.again(e)
	case accepting:
		switch e {
		case stopped:
			m.doing = keeping
		case done:
			m.planned, m.doing = false, living
		default:
			m.doing = failed
		}
	case living, draining:
		switch {
		case e == stopped:
			m.doing = draining
		case e == done && m.doing == draining:
			m.doing = ended
		case e == spoiled, e == gone && m.accept:
			m.doing = pausing
		default:
			m.doing = failed
		}
	case keeping:
		switch e {
		case done:
			m.doing = ended
		case stopped: // which it is
		default:
			m.doing = failed
		}
	case pausing, confirming:
		switch {
		case e == done:
			return machine{accept: m.accept}
		case e == stopped:
			m.doing = ended
		case e == none && m.doing == confirming:
		default:
			m.doing = failed
		}
	}
	return m
}

// again is for what is done beside the way: the way begins anew behind it.
func (m machine) again(e event) machine {
	switch e {
	case done:
		return machine{accept: m.accept, planned: m.planned}
	case stopped:
		m.doing = ended
	default:
		m.doing = failed
	}
	return m
}

// before is for what is done on the way to the end of the journal.
func (m machine) before(e event, then doing) machine {
	switch e {
	case done:
		m.doing = then
	case stopped:
		m.doing = ended
	case gone, givenUp:
		if m.doing, m.why = surveying, e; m.planned {
			m.doing = failed // what was to help does not
		}
	default:
		m.doing = failed
	}
	return m
}

// Pauses before a task takes its lock again: it was lost, or failed on its input,
// of which there are several failures to each record that is quarantined.
const (
	firstLossPause = time.Second
	mostLossPause  = 30 * time.Second
	firstPause     = 100 * time.Millisecond
	mostPause      = 10 * time.Second
)

// lossPause returns the pause after a loss, given the one before and how long the
// task then lived: one loss after another makes it longer.
func lossPause(last, lived time.Duration) time.Duration {
	if lived > time.Minute {
		return firstLossPause
	}
	return min(max(2*last, firstLossPause), mostLossPause)
}

// failurePause returns the pause after a failure on input.
func failurePause(last time.Duration, progress bool) time.Duration {
	if progress {
		return firstPause
	}
	return min(max(2*last, firstPause), mostPause)
}
