package simtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// record is what the event log says of one recipient of one message.
type record struct {
	accepted event.Event
	fates    []event.Event
	others   []event.Event
}

// ledger is the event log by queue id and recipient.
type ledger map[[2]string]*record

// readLog reads the whole event log.
func (w *World) readLog() ledger {
	log, ok := w.node(0).store.(spool.Log)
	if !ok {
		return w.history.live
	}
	all := make(ledger)
	for at := spool.Cursor(0); ; {
		batch, err := log.Records(context.Background(), at, 1000)
		if err != nil {
			w.t.Fatalf("the event log cannot be read: %v", err)
		}
		if len(batch) == 0 {
			return all
		}
		for _, b := range batch {
			at = b.At
			e, err := event.Parse(b.Data)
			if err != nil {
				w.t.Errorf("event log: %v", err)
				continue
			}
			if !w.history.followed[e.ID] {
				w.t.Errorf(
					"I2: the application was never told of %s of %s to %v", e.Kind, e.QueueID, e.To,
				)
			}
			all.add(e)
		}
	}
}

func (l ledger) add(e event.Event) {
	for _, to := range e.To {
		key := [2]string{e.QueueID, to}
		r := l[key]
		if r == nil {
			r = new(record)
			l[key] = r
		}
		switch e.Kind {
		case event.Accepted:
			r.accepted = e
		case event.Delivered, event.Bounced, event.Expired, event.Removed:
			r.fates = append(r.fates, e)
		default:
			r.others = append(r.others, e)
		}
	}
}

// check holds the history against the invariants.
func (w *World) check(log ledger) {
	h := w.history
	h.mu.Lock()
	defer h.mu.Unlock()
	told := make(map[string]*record)
	for key, r := range log {
		if len(r.fates) != 1 {
			w.t.Errorf(
				"I2: %s of %s has %d fates: %s", key[1], key[0], len(r.fates), describe(r.fates),
			)
			continue
		}
		if r.accepted.QueueID == "" {
			w.t.Errorf("I2: %s of %s has a fate and was never accepted", key[1], key[0])
			continue
		}
		if r.accepted.From != "" {
			if told[key[1]] != nil {
				w.t.Errorf("the message to %s was queued twice", key[1])
			}
			told[key[1]] = r
		} else {
			w.checkReport(log, key, r)
		}
	}
	for to, s := range h.sent {
		w.checkRecipient(to, s, told[to])
	}
	for to := range h.taken {
		if h.sent[to] == nil {
			w.t.Errorf("%s got a copy, and nobody has sent it any", to)
		}
	}
	if w.t.Failed() {
		for _, c := range h.calamities {
			w.t.Logf("%s %s", clock(c.at), c.kind)
		}
		for node, spans := range h.nodes {
			for _, x := range spans {
				w.t.Logf("node %d was out from %s to %s", node, clock(x.from), clock(x.to))
			}
		}
	}
}

func describe(events []event.Event) string {
	var b strings.Builder
	for i := range events {
		e := &events[i]
		fmt.Fprintf(&b, "\n\t%s at %s, attempt %d, %s: %d %s %s", e.Kind, clock(e.Time),
			e.Attempt, e.ID, e.Code, e.Enhanced, e.Text)
	}
	return b.String()
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }

// checkReport checks a report's own fate: it makes no other (I8).
func (w *World) checkReport(log ledger, key [2]string, r *record) {
	if r.accepted.ReportOf == "" {
		w.t.Errorf("%s has the null sender and is no report", key[0])
	}
	for of, cause := range log {
		if of[0] == r.accepted.ReportOf && cause.accepted.From == "" {
			w.t.Errorf("I8: %s reports on the report %s", key[0], of[0])
		}
		if of[0] == r.accepted.ReportOf {
			return
		}
	}
}

func (w *World) checkRecipient(to string, s *sent, r *record) {
	copies := w.history.taken[to]
	switch {
	case r == nil && s.known:
		w.t.Errorf("I1: %s of %s was acknowledged and has no fate", to, s.queueID)
		return
	case r == nil:
		if len(copies) > 0 {
			w.t.Errorf("I1: %s got a copy of what nobody accepted", to)
		}
		return
	case s.known && r.accepted.QueueID != s.queueID:
		w.t.Errorf("%s is %s to its client and %s in the log", to, s.queueID, r.accepted.QueueID)
	}
	before := w.t.Failed()
	w.checkEnd(to, s, r)
	w.checkFate(to, s, r, copies)
	w.checkCopies(to, r, copies)
	w.checkWish(to, s, r, copies)
	w.checkDelay(to, s, copies)
	w.checkReports(to, r.fates[0])
	if w.t.Failed() && !before {
		w.t.Logf("%s was %s", to, describe(r.fates))
		if live := w.history.live[[2]string{r.accepted.QueueID, to}]; live != nil {
			w.t.Logf("before that it was %s", describe(live.others))
		}
		w.tell(r.accepted.To)
	}
	for _, c := range copies {
		if c.from != "" && c.from != s.from {
			w.t.Errorf("%s got a copy from %s, not %s", to, c.from, s.from)
		}
		if c.sum != s.sum {
			w.t.Errorf("%s got other content than was sent, from node %d at %s: %q",
				to, c.node, clock(c.at), c.odd)
		}
	}
}

// tell writes down what the hops did with the recipients of a message.
func (w *World) tell(recipients []string) {
	for _, to := range recipients {
		for _, s := range w.history.steps[to] {
			w.t.Logf("%s %s %s %v %s", clock(s.at), to, s.stage, s.where, s.fault)
		}
	}
}

// checkFate sees that a fate is true.
func (w *World) checkFate(to string, s *sent, r *record, copies []*taken) {
	e := &r.fates[0]
	_, domain, _ := strings.Cut(to, "@")
	_, refused := w.history.refused[to]
	for _, other := range r.accepted.To {
		refused = refused || w.history.content[other] && strings.HasSuffix(other, "@"+domain)
	}
	if failed := e.Kind == event.Bounced || e.Kind == event.Expired; failed != (e.Class != "") {
		w.t.Errorf("%s %s has the class %q", to, e.Kind, e.Class)
	}
	switch e.Kind {
	case event.Delivered:
		if len(copies) == 0 {
			w.t.Errorf("I13: %s counts as delivered, and nobody has it", to)
		}
	case event.Bounced:
		if !refused && domain != goneDomain {
			w.t.Errorf(
				"I12: %s bounced, and nobody refused it: %d %s %s", to, e.Code, e.Enhanced, e.Text,
			)
		}
	case event.Expired:
		if e.Time.Before(s.end().Add(-2 * maxStep)) {
			w.t.Errorf("I12: %s expired after %v", to, e.Time.Sub(s.at))
		}
	case event.Removed:
		if !s.cancelled {
			w.t.Errorf("%s was removed, which nobody asked for", to)
		}
	default:
		w.t.Errorf("%s was %s, which nobody asked for", to, e.Kind)
	}
}

// checkEnd sees that nothing waits beyond its end, but for an operator.
func (w *World) checkEnd(to string, s *sent, r *record) {
	e := &r.fates[0]
	late := e.Time.Sub(s.end())
	if w.rested(to) {
		late -= restLong // what nobody has tried does not expire
	}
	twice := func(to string) bool { return len(w.history.taken[to]) > 1 }
	if slices.ContainsFunc(r.accepted.To, twice) {
		late -= copiesRest
	}
	if late > 2*maxStep+3*w.plan.Lease+grace && !w.history.aside[to] {
		w.t.Errorf("%s was %s %v after its end", to, e.Kind, late)
	}
}

const (
	restLong = 3 * time.Hour // the first rest, for each of two causes
	// copiesRest is how long mail rests of which somebody has a copy that the
	// store does not know of.
	copiesRest = time.Hour
)

// rested tells whether mail to the host of a recipient has rested.
func (w *World) rested(to string) bool {
	_, domain, _ := strings.Cut(to, "@")
	domain = strings.TrimPrefix(domain, "x.")
	return slices.ContainsFunc(w.history.rested, func(site string) bool {
		return site == "" || strings.Contains(site, strings.TrimSuffix(domain, ".test"))
	})
}

// checkDelay sees that a host that is well gets its mail at once, whatever goes
// on with the others (I14), unless the relay itself was out of order.
func (w *World) checkDelay(to string, s *sent, copies []*taken) {
	if !strings.HasSuffix(to, "@"+goodDomain) || len(copies) == 0 || !s.notBefore.IsZero() {
		return
	}
	first := copies[0].at
	for _, x := range w.history.outages {
		if s.at.Before(x.to.Add(leaseEnds)) && first.After(x.from) {
			return
		}
	}
	if d := first.Sub(s.at); d > atOnce {
		w.t.Errorf("I14: %s had to wait %v for a copy", to, d)
	}
}

const (
	atOnce    = 20 * time.Second
	leaseEnds = 2*time.Minute + 30*time.Second // after the process that held it died
)

// checkReports sees that a failure is reported once, and success never.
func (w *World) checkReports(to string, e event.Event) {
	failed, delayed := make(map[string]bool), make(map[string]bool)
	for _, r := range w.history.reports[to] {
		switch r.action {
		case "failed":
			failed[r.id] = true
		case "delayed":
			delayed[r.id] = true
		default:
			w.t.Errorf("%s was reported as %s, which nobody asked for", to, r.action)
		}
	}
	want := 0
	if e.Kind == event.Bounced || e.Kind == event.Expired {
		want = 1
	}
	if len(failed) != want || len(delayed) > 1 {
		w.t.Errorf("I8: %s %s with %d reports of failure and %d of delay",
			to, e.Kind, len(failed), len(delayed))
	}
}
