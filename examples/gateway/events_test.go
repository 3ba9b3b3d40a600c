package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/event"
)

func full() event.Event {
	return event.Event{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600)), Kind: event.Deferred,
		QueueID:   "q1",
		Connector: "apps", Remote: netip.MustParseAddrPort("192.0.2.1:4711"), User: "app",
		Credential: "printer", From: "a@example.com",
		To: []string{"b@example.net"}, Code: 451, Enhanced: "4.2.2",
		Text: "say \"later\"\x00\u00e9\xff", Host: "mx (192.0.2.9)",
		Attempt: 2, Size: 12, Stage: "x", Command: "RCPT TO:<b@>", Reason: "why", Report: "r",
	}
}

func TestAppendEvent(t *testing.T) {
	at := "2026-01-02T02:04:05.0000006Z"
	for _, test := range []struct {
		name  string
		event event.Event
		want  map[string]any
	}{
		{"all", full(), map[string]any{
			"time": at, "type": "deferred", "queue_id": "q1", "connector": "apps",
			"remote": "192.0.2.1:4711", "user": "app", "credential": "printer",
			"from": "a@example.com", "to": "b@example.net", "code": 451.0, "enhanced": "4.2.2",
			"text": "say \"later\"\x00\u00e9\ufffd", "host": "mx (192.0.2.9)", "attempt": 2.0,
			"stage": "x", "command": "RCPT TO:<b@>", "reason": "why",
		}},
		{"null sender", event.Event{
			Time: full().Time, Kind: event.Accepted, QueueID: "q2", To: []string{"b@example.net"},
		}, map[string]any{
			"time": at, "type": "accepted", "queue_id": "q2", "from": "", "to": "b@example.net",
		}},
		{"no sender", event.Event{
			Time: full().Time, Kind: event.Rejected, Code: 421,
		}, map[string]any{
			"time": at, "type": "rejected", "code": 421.0,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			line := appendEvents(nil, &test.event)
			if n := bytes.Count(line, []byte("\n")); n != 1 {
				t.Errorf("%d lines", n)
			}
			var got map[string]any
			if err := json.Unmarshal(line, &got); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %v (%v)\nwant %v", got, err, test.want)
			}
		})
	}
}

func TestLinePerRecipient(t *testing.T) {
	e := full()
	e.To = []string{"b@example.net", "c@example.net"}
	lines := strings.Split(strings.TrimSpace(string(appendEvents(nil, &e))), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"to":"b@example.net"`) ||
		!strings.Contains(lines[1], `"to":"c@example.net"`) {
		t.Errorf("lines %q", lines)
	}
}

func TestEventLog(t *testing.T) {
	var out bytes.Buffer
	l := newEventLog(&out, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				l.Add(full())
			}
		})
	}
	wg.Wait()
	l.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4000 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("no JSON: %s", line)
		}
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e := full()
	e.Text = "2.0.0 Ok: queued"
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEvents(buf[:0], &e)
	}
}
