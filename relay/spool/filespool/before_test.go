package filespool_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// TestBefore opens directories that earlier revisions have written, in which a
// delivery had a route alone: four messages, each with a delivery to the MX of
// example.net, to a smart host and to a mailbox. The three oldest MX deliveries
// have been tried, the second of them was moved, and the fourth is delivered.
func TestBefore(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob("testdata/before/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	for _, from := range dirs {
		t.Run(filepath.Base(from), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, nil)
			checkBefore(t, s)
			s.Close()
			s = open(t, dir, nil)
			checkBefore(t, s)
			s.Close()
		})
	}
}

func checkBefore(t *testing.T, s spool.Store) {
	t.Helper()
	st, err := s.Stats(t.Context())
	if err != nil || st.Messages != 4 || st.Deliveries != 11 {
		t.Fatalf("%+v, %v", st, err)
	}
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 100, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	count := map[spool.Key]int{}
	for _, l := range l.Leases {
		count[l.Delivery.Key]++
		m := l.Message
		if m.From != "sender@example.com" || m.Return != spool.ReturnHeaders ||
			m.Body != spool.Body8BitMIME || m.Origin.User != "alice" || m.Labels["order"] == "" ||
			m.Stream != "" || !m.ReportOf.IsZero() {
			t.Errorf("message %+v", m)
		}
		if tried := l.Delivery.Key.Domain != ""; tried != (l.Delivery.Attempts == 1) ||
			tried && l.Delivery.Recipients[0].Host != "mx.example.net" {
			t.Errorf("delivery %+v", l.Delivery)
		}
		r, err := s.Open(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil || int64(b.Len()) != m.Size ||
			!bytes.HasPrefix(b.Bytes(), []byte("Received: by old\r\nline "+m.Labels["order"])) {
			t.Errorf("content %.40q, %v", b.Bytes(), err)
		}
		r.Close()
	}
	for k, want := range map[spool.Key]int{
		{Route: "mx/out", Domain: "example.net"}:  2,
		{Route: "mx/a/b", Domain: "example.info"}: 1,
		{Route: "send/smart/host"}:                4,
		{Route: "mailbox"}:                        4,
	} {
		if count[k] != want {
			t.Errorf("%d with the key %+v, want %d (%v)", count[k], k, want, count)
		}
	}
}
