//go:build unix

package clustertest_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// recording is how long a relay may take to record what a next hop took: a
	// fault that begins within it explains that it was not recorded.
	recording = 1500 * time.Millisecond
	// waking is how long after a fault has ended a relay may still be busy with
	// what it was busy with before.
	waking = 2 * time.Second
	// slow is what tells a machine that is busy with something else: a write
	// takes a few milliseconds.
	slow = 700 * time.Millisecond
	// stopping is how long after the end of its leases a relay may still be
	// busy with what it cannot record.
	stopping = time.Second
)

// The classes of complaints.
const (
	lost      = "lost"      // acknowledged, and it did not arrive or is not in the log
	undone    = "undone"    // it was never sent, and arrived
	fates     = "fates"     // none, or several, or a wrong one
	twice     = "twice"     // it arrived again without a reason
	late      = "late"      // it was delivered by who could not hold it any more
	stuck     = "stuck"     // it neither goes out nor comes back
	positions = "positions" // of the log: they do not rise, or events stand there twice
	skipped   = "skipped"   // a follower was not told, or told in another order
	reports   = "reports"   // none, or several
	damaged   = "damaged"   // the content is not what was sent
)

// verdict is what a check has found.
type verdict struct {
	complaints []string
	again      int // takings beyond the first
	events     int
	told       int // events that the follower was told of
	repeated   int // events that the follower was told of again
	slow       int // writes that took long
}

func (v *verdict) complain(class, format string, args ...any) {
	v.complaints = append(v.complaints, class+": "+fmt.Sprintf(format, args...))
}

// has reports whether there is a complaint of a class.
func (v *verdict) has(class string) bool {
	return slices.ContainsFunc(v.complaints, func(c string) bool {
		return strings.HasPrefix(c, class+": ")
	})
}

// check holds a history against what a relay promises.
func (h *history) check() *verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := &verdict{}
	h.checkLog(v)
	h.checkFollower(v)
	copies := h.copies()
	for to, c := range copies {
		h.checkCopy(v, to, c)
	}
	for to := range h.acknowledged {
		if copies[to] == nil {
			v.complain(lost, "%s was acknowledged and is not in the log", to)
		}
		if len(h.taken[to]) == 0 && !h.refused[to] {
			v.complain(lost, "%s was acknowledged and did not arrive", to)
		}
	}
	for to := range h.taken {
		h.checkTakings(v, to)
	}
	h.checkReports(v)
	for _, f := range h.faults {
		if f.kind == "slow" {
			v.slow++
		}
	}
	return v
}

// checkLog sees that positions rise and that each event stands there once.
func (h *history) checkLog(v *verdict) {
	ids := map[string]spool.Cursor{}
	last := spool.Cursor(0)
	for i := range h.log {
		e := &h.log[i]
		if e.at <= last {
			v.complain(positions, "%d comes behind %d", e.at, last)
		}
		last = e.at
		if first, again := ids[e.ID]; again {
			v.complain(positions, "%s of %s stands at %d and at %d", e.Kind, e.QueueID, first, e.at)
		}
		ids[e.ID] = e.at
	}
	v.events = len(h.log)
}

// checkFollower sees that the follower was told of each event, for the first
// time in the order of the log, and each in its place.
func (h *history) checkFollower(v *verdict) {
	places := map[string]spool.Cursor{}
	next := 0
	for i := range h.seen {
		e := &h.seen[i]
		if at, again := places[e.ID]; again {
			v.repeated++
			if at != e.at {
				v.complain(
					positions, "%s of %s was at %d and is at %d", e.Kind, e.QueueID, at, e.at,
				)
			}
			continue
		}
		places[e.ID] = e.at
		v.told++
		if next = h.passTo(v, next, e); next < 0 {
			return
		}
	}
	for i := next; i < len(h.log); i++ {
		v.complain(skipped, "the follower was not told of %s", &h.log[i])
	}
}

// passTo goes on in the log to an event that the follower was told of.
func (h *history) passTo(v *verdict, next int, e *logged) int {
	for ; next < len(h.log); next++ {
		if h.log[next].ID == e.ID {
			if h.log[next].at != e.at {
				v.complain(positions, "%s was at %d", &h.log[next], e.at)
			}
			return next + 1
		}
		v.complain(skipped, "the follower was told of %s and not of %s before", e, &h.log[next])
	}
	v.complain(skipped, "the follower was told of %s, which the log does not have there", e)
	return -1
}

func (e *logged) String() string {
	return fmt.Sprintf("%s of %s to %v at %d", e.Kind, e.QueueID, e.To, e.at)
}

// copyOf is what the log says of one recipient.
type copyOf struct {
	accepted int
	fates    []event.Kind
}

// copies are the recipients of the log, but for those of reports.
func (h *history) copies() map[string]*copyOf {
	reports := map[string]bool{}
	for i := range h.log {
		if h.log[i].ReportOf != "" {
			reports[h.log[i].QueueID] = true
		}
	}
	all := map[string]*copyOf{}
	for i := range h.log {
		e := &h.log[i]
		for _, to := range e.To {
			if reports[e.QueueID] {
				to = e.QueueID + " to " + to
			}
			if all[to] == nil {
				all[to] = &copyOf{}
			}
			switch {
			case e.Kind == event.Accepted:
				all[to].accepted++
			case e.Kind.Fate():
				all[to].fates = append(all[to].fates, e.Kind)
			}
		}
	}
	return all
}

// checkCopy sees that a recipient has one fate, and that it is true.
func (h *history) checkCopy(v *verdict, to string, c *copyOf) {
	if c.accepted != 1 || len(c.fates) != 1 {
		v.complain(fates, "%s was accepted %d times and has the fates %v", to, c.accepted, c.fates)
		return
	}
	if h.undone[to] {
		v.complain(undone, "%s is in the log", to)
	}
	if strings.Contains(to, " ") {
		return // a report
	}
	switch c.fates[0] {
	case event.Delivered:
		if len(h.taken[to]) == 0 {
			v.complain(fates, "%s counts as delivered, and nobody has it", to)
		}
	case event.Bounced:
		if !h.refused[to] {
			v.complain(fates, "%s counts as bounced, and nobody refused it", to)
		}
	default:
		v.complain(fates, "%s is %s, which nobody asked for", to, c.fates[0])
	}
}

// checkTakings sees that of the copies that arrived, all but the one that was
// recorded have a reason.
func (h *history) checkTakings(v *verdict, to string) {
	all := h.taken[to]
	v.again += len(all) - 1
	unexplained := 0
	for i := range all {
		t := &all[i]
		if !h.explained(t) {
			unexplained++
		}
		if !t.whole {
			v.complain(damaged, "%s", to)
		}
		h.checkHolder(v, to, t)
	}
	if unexplained > 1 {
		var list strings.Builder
		for _, t := range all {
			fmt.Fprintf(&list, "\n\t%s by %s, replied: %v", t.at.Format(stamp), t.host, t.replied)
		}
		v.complain(twice, "%s arrived %d times:%s", to, len(all), &list)
	}
	if h.undone[to] {
		v.complain(undone, "%s arrived", to)
	}
}

const stamp = "15:04:05.000"

// explained reports whether it may be that what was taken could not be
// recorded.
func (h *history) explained(t *taking) bool {
	if !t.replied {
		return true
	}
	for _, f := range h.faults {
		if (f.host == "" || f.host == t.host) &&
			t.at.After(f.from.Add(-recording)) && t.got.Before(f.to.Add(waking)) {
			return true
		}
	}
	return false
}

// checkHolder sees that a relay without access to the store delivers nothing
// once its leases have ended.
func (h *history) checkHolder(v *verdict, to string, t *taking) {
	for _, f := range h.faults {
		if (f.kind == "cut" || f.kind == "stall") && f.host == t.host && t.got.Before(f.to) &&
			t.got.After(f.from.Add(leaseTime+stopping)) {
			v.complain(late, "%s delivered to %s %v after it was cut off",
				t.host, to, t.got.Sub(f.from))
		}
	}
}

// checkReports sees that each message that bounced for some recipients has one
// report.
func (h *history) checkReports(v *verdict) {
	bounced, made := map[string]bool{}, map[string]int{}
	for i := range h.log {
		switch e := &h.log[i]; {
		case e.Kind == event.Bounced && e.From != "":
			bounced[e.QueueID] = true
		case e.Kind == event.Accepted && e.ReportOf != "":
			made[e.ReportOf]++
		}
	}
	for id := range bounced {
		if made[id] != 1 {
			v.complain(reports, "%s bounced and has %d reports", id, made[id])
		}
	}
	for id := range made {
		if !bounced[id] {
			v.complain(reports, "%s has a report and did not bounce", id)
		}
	}
}
