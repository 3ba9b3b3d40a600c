//go:build unix

package clustertest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// good is a history without a fault: one message to a and b, which was taken
// for a and refused for b, and the report of that.
func good() *history {
	h := newHistory()
	h.acknowledge("a", "b")
	h.taken["a"] = []taking{{
		got: time.Unix(100, 0), at: time.Unix(100, 0), host: "n0", replied: true, whole: true,
	}}
	h.refused["b"] = true
	for i, e := range []event.Event{
		{Kind: event.Accepted, QueueID: "1", From: "s", To: []string{"a", "b"}},
		{Kind: event.Delivered, QueueID: "1", From: "s", To: []string{"a"}, Attempt: 1},
		{Kind: event.Accepted, QueueID: "2", ReportOf: "1", To: []string{"s"}},
		{Kind: event.Bounced, QueueID: "1", From: "s", To: []string{"b"}, Attempt: 1},
		{Kind: event.Delivered, QueueID: "2", To: []string{"s"}, Attempt: 1},
	} {
		e.Identify()
		h.log = append(h.log, logged{spool.Cursor(10 * (i + 1)), e})
	}
	h.seen = slices.Clone(h.log)
	return h
}

// drop takes event i out of the log and what the follower saw.
func (h *history) drop(i int) {
	h.log, h.seen = slices.Delete(h.log, i, i+1), slices.Delete(h.seen, i, i+1)
}

// again lets a arrive a second time.
func (h *history) again(at int64, host string) {
	h.taken["a"] = append(h.taken["a"], taking{
		time.Unix(at, 0), time.Unix(at, 0), host, true, true,
	})
}

// TestChecker: the check finds each fault, and nothing where there is none.
func TestChecker(t *testing.T) {
	t.Parallel()
	calm := func(kind, host string, from, to int64) fault {
		return fault{kind, host, time.Unix(from, 0), time.Unix(to, 0)}
	}
	for _, c := range []struct {
		name string
		mend func(h *history)
		want string
	}{
		{"nothing", func(*history) {}, ""},
		{"seen again", func(h *history) { h.see(slices.Clone(h.log[1:3])) }, ""},
		{"not in the log", func(h *history) { h.acknowledge("c"); h.refuse("c") }, lost},
		{"not arrived", func(h *history) { delete(h.taken, "a") }, lost},
		{"rolled back and sent", func(h *history) { h.undo("a") }, undone},
		{"no fate", func(h *history) { h.drop(1) }, fates},
		{"never accepted", func(h *history) { h.drop(0) }, fates},
		{"a wrong fate", func(h *history) { h.refused = map[string]bool{} }, fates},
		{"two fates", func(h *history) {
			e := h.log[1].Event
			e.Attempt, e.Kind = 2, event.Bounced
			e.Identify()
			h.log, h.seen = append(h.log, logged{60, e}), append(h.seen, logged{60, e})
		}, fates},
		{"twice", func(h *history) { h.again(110, "n1") }, twice},
		{"twice, with a fault elsewhere", func(h *history) {
			h.again(110, "n1")
			h.faults = append(h.faults, calm("kill", "n2", 101, 120))
		}, twice},
		{"twice, with a fault later", func(h *history) {
			h.again(110, "n1")
			h.faults = append(h.faults, calm("restart", "", 150, 160))
		}, twice},
		{"three times, with a reason for one", func(h *history) {
			h.again(110, "n1")
			h.again(120, "n1")
			h.faults = append(h.faults, calm("kill", "n0", 101, 4000))
		}, twice},
		{"twice, as its relay was killed", func(h *history) {
			h.again(110, "n1")
			h.faults = append(h.faults, calm("kill", "n0", 101, 4000))
		}, ""},
		{"twice, as the store was down", func(h *history) {
			h.again(110, "n1")
			h.faults = append(h.faults, calm("restart", "", 109, 112))
		}, ""},
		{"twice, as the reply was lost", func(h *history) {
			h.again(110, "n1")
			h.taken["a"][0].replied = false
		}, ""},
		{"late", func(h *history) {
			h.faults = append(h.faults, calm("cut", "n0", 92, 104))
		}, late},
		{"in time", func(h *history) {
			h.faults = append(h.faults, calm("cut", "n0", 96, 104))
		}, ""},
		{"damaged", func(h *history) { h.taken["a"][0].whole = false }, damaged},
		{"positions fall", func(h *history) { h.log[2].at, h.seen[2].at = 5, 5 }, positions},
		{"a position moves", func(h *history) { h.log[4].at = 55 }, positions},
		{"an event stands twice", func(h *history) {
			e := logged{60, h.log[0].Event}
			h.log = append(h.log, e)
		}, positions},
		{"skipped", func(h *history) { h.seen = slices.Delete(h.seen, 2, 3) }, skipped},
		{"skipped at the end", func(h *history) { h.seen = h.seen[:4] }, skipped},
		{"told too early", func(h *history) {
			h.seen[2], h.seen[3] = h.seen[3], h.seen[2]
		}, skipped},
		{"told of nothing", func(h *history) { h.log = h.log[:4] }, skipped},
		{"no report", func(h *history) { h.drop(4); h.drop(2) }, reports},
		{"two reports", func(h *history) {
			for _, i := range []int{2, 4} {
				e := h.log[i]
				e.QueueID, e.at = "3", spool.Cursor(60+i)
				e.Identify()
				h.log, h.seen = append(h.log, e), append(h.seen, e)
			}
		}, reports},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := good()
			c.mend(h)
			v := h.check()
			if c.want == "" && len(v.complaints) > 0 || c.want != "" && !v.has(c.want) {
				t.Errorf("the check finds %q, want %q", v.complaints, c.want)
			}
		})
	}
}
