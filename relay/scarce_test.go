//go:build unix

package relay_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// withoutDescriptors calls f while this process can open nothing.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// TestWithoutDescriptors takes every descriptor away for a moment, from the
// store and from the mailboxes: mail is refused for now and deferred, and
// afterwards all that was accepted is delivered, once.
func TestWithoutDescriptors(t *testing.T) {
	store, err := filespool.Open(t.TempDir(), &filespool.Options{
		Threshold: 2000, SegmentBytes: 4096,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir := t.TempDir()
	cfg, w := config()
	cfg.Connectors, cfg.Verifier, cfg.Spool, cfg.Events = nil, nil, store, w.events.add
	cfg.Transport = delivery.Maildir(dir)
	cfg.Retry.Schedule = []time.Duration{time.Second}
	r := run(t, cfg)
	accepted, refused := 0, 0
	put := func(may bool) {
		t.Helper()
		for i := range 40 {
			body := "short"
			if i%2 == 0 {
				body = strings.Repeat("a line of a long message\r\n", 1000)
			}
			_, err := r.Submit(t.Context(), &relay.Message{
				From: "app@example.test", To: []string{"x@elsewhere.test"},
				Content: strings.NewReader("Subject: x\r\n\r\n" + body),
			})
			switch {
			case err == nil:
				accepted++
			case !may || errors.Is(err, spool.ErrFailed):
				t.Fatal(err)
			default:
				refused++
			}
		}
	}
	put(false)
	withoutDescriptors(t, func() {
		put(true)
		time.Sleep(1500 * time.Millisecond) // attempts
	})
	put(false)
	if refused == 0 {
		t.Error("nothing was refused")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		st, err := r.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st.Messages == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := files(t, dir); len(got) != accepted {
		t.Errorf("%d delivered, want %d", len(got), accepted)
	}
	if got := w.events.all(event.Bounced); len(got) != 0 {
		t.Errorf("events %s", show(got))
	}
}
