package event_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
)

func full() event.Event {
	return event.Event{
		ID: "i", Time: time.Date(2026, 1, 2, 2, 4, 5, 600, time.UTC), Kind: event.Deferred,
		QueueID: "q1", ReportOf: "q0", Stream: "orders", Connector: "apps",
		Remote: netip.MustParseAddrPort("192.0.2.1:4711"), TLS: "TLSv1.3 X",
		Certificate: "host.example", User: "app", Credential: "printer", From: "a@example.com",
		To: []string{"b@example.net"}, Size: 12, Code: 451, Enhanced: "4.2.2",
		Text: "say \"later\"\u00e9", Host: "mx (192.0.2.9)", Class: bounce.MailboxFull, Attempt: 2,
		Delay: 90 * time.Second, Next: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), Report: "q2",
		Site: "mx.example.net", Throttle: "t1",
		Stage: event.StageRcpt, Command: "RCPT TO:<b@>", Reason: "why",
		Labels: map[string]string{"order": "7"},
	}
}

// TestStoredFormHoldsEveryField fails when a new field has no place in it.
func TestStoredFormHoldsEveryField(t *testing.T) {
	t.Parallel()
	e := full()
	v := reflect.ValueOf(e)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() && name != "Cursor" { // the log's, not the event's
			t.Errorf("the test says nothing of %s", name)
		}
	}
	got, err := event.Parse(event.Append(nil, &e))
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got  %+v (%v)\nwant %+v", got, err, e)
	}
	var other event.Event
	text, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(text, &other)
	}
	if err != nil || !reflect.DeepEqual(other, e) {
		t.Errorf("got  %+v (%v)\nwant %+v", other, err, e)
	}
}

// Where an event lies in a log says nothing of what happened.
func TestCursorIsNotStored(t *testing.T) {
	t.Parallel()
	plain, placed := full(), full()
	placed.Cursor = 7
	if a, b := event.Append(nil, &plain), event.Append(nil, &placed); string(a) != string(b) {
		t.Errorf("%s\n%s", a, b)
	}
	plain.Identify()
	placed.Identify()
	if plain.ID != placed.ID {
		t.Errorf("ids %s and %s", plain.ID, placed.ID)
	}
}

// TestStoredNamesStay holds the names that other programs read.
func TestStoredNamesStay(t *testing.T) {
	t.Parallel()
	e := full()
	const want = `{"id":"i","time":"2026-01-02T02:04:05.0000006Z","kind":"deferred",` +
		`"queue_id":"q1","report_of":"q0","stream":"orders","connector":"apps",` +
		`"remote":"192.0.2.1:4711","tls":"TLSv1.3 X","certificate":"host.example",` +
		`"user":"app","credential":"printer","from":"a@example.com","to":["b@example.net"],` +
		`"size":12,"code":451,"enhanced":"4.2.2","text":"say \"later\"é",` +
		`"host":"mx (192.0.2.9)","class":"mailbox-full","attempt":2,"delay_ms":90000,` +
		`"next":"2026-01-02T03:00:00Z",` +
		`"report":"q2","site":"mx.example.net","throttle":"t1","stage":"rcpt",` +
		`"command":"RCPT TO:\u003cb@\u003e","reason":"why",` +
		`"labels":{"order":"7"}}`
	if got := string(event.Append(nil, &e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLaterVersionsStayReadable(t *testing.T) {
	t.Parallel()
	e, err := event.Parse([]byte(
		`{"kind":"suppressed","queue_id":"q","mood":{"name":"x"},"stage":"later","class":"odd"}`,
	))
	if err != nil || e.Kind != "suppressed" || e.QueueID != "q" || e.Stage != "later" ||
		e.Class != "odd" {
		t.Errorf("%+v, %v", e, err)
	}
	if got := string(event.Append(nil, &e)); !strings.Contains(got, `"kind":"suppressed"`) {
		t.Errorf("%s", got)
	}
}

func TestUnreadableForms(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "null", "{}", `{"kind":""}`, `{"kind":"accepted"`, `{"kind":1}`,
		`{"kind":"accepted","time":"yesterday"}`, `{"kind":"accepted","remote":"x"}`,
		`{"kind":"accepted","to":"b@example.net"}`,
	} {
		if e, err := event.Parse([]byte(text)); err == nil {
			t.Errorf("%q is %+v", text, e)
		}
	}
}

// TestStoredFormIsThatOfJSON: what is escaped, and how, is as encoding/json has
// it.
func TestStoredFormIsThatOfJSON(t *testing.T) {
	t.Parallel()
	var all []rune
	for r := range rune(0x2100) {
		all = append(all, r)
	}
	for _, s := range []string{
		"", "plain", string(all), "<a&b>", "\x00\t\r\n\x7f", "say \"so\" \\", "\xff\xe4", "Grüße",
		"\u2028",
		"\b\f\v\x1f\ufffd\U0001f4e7", "\xe2\x80", "\u2029>",
	} {
		e := event.Event{
			Kind: event.Kind(s), From: s, To: []string{s, "x", s}, Text: s, Size: -1,
			Labels: map[string]string{s: s, "b": "", "a": s, "<": "1"},
		}
		want, err := event.Marshal(&e)
		if got := event.Append([]byte("{"), &e); err != nil || string(got) != "{"+string(want) {
			t.Errorf("got  %s\nwant %s, %v", got, want, err)
		}
	}
}

func TestTimesBeyondTheFormAreLeftOut(t *testing.T) {
	t.Parallel()
	e := event.Event{Kind: event.Deferred, Next: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)}
	got, err := event.Parse(event.Append(nil, &e))
	if err != nil || !got.Next.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKindsAsText(t *testing.T) {
	t.Parallel()
	for _, k := range event.Kinds() {
		text, err := k.MarshalText()
		var got event.Kind
		if err == nil {
			err = got.UnmarshalText(text)
		}
		if err != nil || got != k || string(text) != k.String() {
			t.Errorf("%q: %q, %v", k, got, err)
		}
	}
	for _, unknown := range []string{"", "attempt", "Delivered"} {
		if err := new(event.Kind).UnmarshalText([]byte(unknown)); err == nil {
			t.Errorf("%q is a kind", unknown)
		}
	}
	if _, err := event.Kind("").MarshalText(); err == nil {
		t.Error("the zero kind has a name")
	}
	if err := new(event.Stage).UnmarshalText([]byte("dinner")); err == nil {
		t.Error("dinner is a stage")
	}
}

func TestIDsDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, id := range []string{
		event.ID("q", "a@b", 1, event.Deferred), event.ID("q", "a@b", 2, event.Deferred),
		event.ID("q", "a@b", 1, event.Bounced), event.ID("q", "a@c", 1, event.Deferred),
		event.ID("r", "a@b", 1, event.Deferred), event.ID("qa", "@b", 1, event.Deferred),
		event.ID("q", "a@b1", 1, event.Deferred), event.ID("q", "a@b", 11, event.Deferred),
	} {
		if len(id) != 26 || seen[id] {
			t.Errorf("id %q", id)
		}
		seen[id] = true
	}
	e := event.Event{QueueID: "q", To: []string{"a@b", "c@d"}, Attempt: 1, Kind: event.Deferred}
	if e.Identify(); e.ID != event.ID("q", "a@b", 1, event.Deferred) {
		t.Errorf("id %q", e.ID)
	}
}

func FuzzParse(f *testing.F) {
	e := full()
	f.Add(event.Append(nil, &e))
	f.Add([]byte(`{"kind":"later","to":[],"labels":{},"remote":"[fe80::1%x]:1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := event.Parse(data)
		if err != nil {
			return
		}
		text := event.Append(nil, &e)
		again, err := event.Parse(text)
		if err != nil {
			t.Fatalf("%q became %q: %v", data, text, err)
		}
		if other := event.Append(nil, &again); string(other) != string(text) {
			t.Fatalf("%q became %q", text, other)
		}
		if want, err := event.Marshal(&e); err != nil || string(text) != string(want) {
			t.Fatalf("%q is not what encoding/json writes: %q, %v", text, want, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	e := full()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = event.Append(buf[:0], &e)
	}
}
