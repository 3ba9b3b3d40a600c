package simtest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
)

// history is what happened, as those outside the relay saw it.
type history struct {
	mu      sync.Mutex
	sent    map[string]*sent     // by recipient: each has one message
	taken   map[string][]*taken  // by recipient
	refused map[string]time.Time // by recipient: when somebody refused it for good
	content map[string]bool      // recipients with whom the content was refused
	reports map[string][]report  // by recipient that they tell of
	nodes   map[int][]span       // by node: when its process or its store was out of order
	outages []span               // of the relays' own machines
	hosts   map[string][]span    // by address of a hop: when its network was out of order
	faults  map[Fault]int
	twice   int // copies that a node could not write down
	ahead   int // messages behind which another had come before they were answered
	// expected are deliveries that were handed out as their commits had leased
	// them.
	expected int
	// followed are the events that the application has read, by id.
	followed  map[string]bool
	live      ledger
	throttles map[string]bool // by id: what a relay did by itself
	rested    []string        // sites where a relay let mail rest
	aside     map[string]bool // recipients that waited for an operator
	// calamities are the faults that came from outside, for who looks into a
	// failure.
	calamities []calamity
	steps      map[string][]step
}

// step is a step of a hop with a recipient.
type step struct {
	at    time.Time
	where transaction
	stage relaytest.Stage
	fault Fault
}

type calamity struct {
	at   time.Time
	kind Fault
}

// sent is a message that a client has handed over to the relay, or tried to.
type sent struct {
	from    string
	sum     string // of its body
	at      time.Time
	known   bool // the relay has acknowledged it
	queueID string
	wish
}

// taken is a copy that a next hop or a mailbox has taken.
type taken struct {
	at   time.Time
	from string
	host string
	node int  // that handed it over
	told bool // it meant to answer so
	sum  string
	odd  string // content that is not what was sent
}

// report is one that landed in the mailbox of a sender.
type report struct {
	id     string // of the report's own Message-ID
	action string
}

type span struct{ from, to time.Time }

// now is the span of this moment.
func now() span { return span{time.Now(), time.Now()} }

func newHistory() *history {
	return &history{
		sent: make(map[string]*sent), taken: make(map[string][]*taken),
		refused: make(map[string]time.Time), content: make(map[string]bool),
		reports: make(map[string][]report),
		nodes:   make(map[int][]span), hosts: make(map[string][]span), faults: make(map[Fault]int),
		followed: make(map[string]bool), live: make(ledger),
		throttles: make(map[string]bool), aside: make(map[string]bool),
		steps: make(map[string][]step),
	}
}

func (h *history) send(to []string, s sent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range to {
		own := s
		h.sent[a] = &own
	}
}

func (h *history) acknowledge(to []string, queueID string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range to {
		h.sent[a].known, h.sent[a].queueID = true, queueID
	}
}

func (h *history) take(to, content string, t taken) *taken {
	_, body, _ := strings.Cut(content, "\r\n\r\n")
	t.sum = digest(body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.sent[to]; s != nil && s.sum != t.sum {
		t.odd = content
	}
	h.taken[to] = append(h.taken[to], &t)
	return &t
}

// tell writes down that who handed copies over was told that they were taken.
func (h *history) tell(copies []*taken) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range copies {
		c.told = true
	}
}

// throttled writes down what a relay does by itself.
func (h *history) throttled(id, site string, class bounce.Class) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if class != bounce.RateLimited && !h.throttles[id] {
		h.rested = append(h.rested, site)
	}
	h.throttles[id] = true
}

// setAside writes down that a copy waits for an operator.
func (h *history) setAside(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.aside[to] = true
}

func (h *history) goAhead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead++
}

func (h *history) refuse(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused[to] = time.Now()
}

// refuseContent writes down that a host refused the content for good. The relay
// takes that to hold for the other recipients there, and does not ask again.
func (h *history) refuseContent(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.content[to] = true
}

// trouble writes down when a node died, or was out of order.
func (h *history) trouble(node int, s span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nodes[node] = append(h.nodes[node], s)
}

// outage writes down that a relay's machine was out of order since begun.
func (h *history) outage(begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outages = append(h.outages, span{begun, time.Now()})
}

func (h *history) troubleAt(address string, s span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts[address] = append(h.hosts[address], s)
}

// follow takes down events that the application has read.
func (h *history) follow(events []event.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range events {
		h.followed[events[i].ID] = true
	}
}

func (h *history) note(to string, t transaction, s relaytest.Stage, f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps[to] = append(h.steps[to], step{time.Now(), t, s, f})
}

func (h *history) calamity(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calamities = append(h.calamities, calamity{time.Now(), f})
}

// count counts a fault.
func (h *history) count(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults[f]++
}

// report takes down a report (RFC 3464) that landed with a sender.
func (h *history) report(content string) error {
	id := field(content, "Message-ID")
	if id == "" {
		return fmt.Errorf("a report without a Message-ID")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for part := range strings.SplitSeq(content, "\r\n\r\n") {
		to := strings.TrimPrefix(field(part, "Final-Recipient"), "rfc822;")
		action := field(part, "Action")
		if to = strings.TrimSpace(to); to != "" && action != "" {
			h.reports[to] = append(h.reports[to], report{id, action})
		}
	}
	return nil
}

// field returns the value of a field on one line, as the reports here have it.
func field(text, name string) string {
	for line := range strings.SplitSeq(text, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
