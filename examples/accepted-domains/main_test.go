package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestDomains(t *testing.T) {
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	r, err := newRelay(memspool.New(nil), "127.0.0.1:0", dir, sink.Addr)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	send := func(to string) error {
		c, err := mailtest.Dial("127.0.0.1", r.Addrs("internet")[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return mailtest.Send(c, "customer@example.net", to, to)
	}
	for _, to := range []string{
		"alice@example.com", "Bob@EXAMPLE.com", "carol@example.org", "dave@example.org",
	} {
		if err := send(to); err != nil {
			t.Errorf("to %s: %v", to, err)
		}
	}
	if m := sink.Next(t); m.To[0] != "dave@example.org" {
		t.Errorf("passed on: %+v", m)
	}
	for _, box := range []string{"alice@example.com", "carol@example.org"} {
		if content := first(
			t, filepath.Join(dir, box, "new"),
		); !strings.Contains(content, "Subject: "+box) {
			t.Errorf("%s got %q", box, content)
		}
	}
	// Refusals come after a delay of five seconds.
	for to, reply := range map[string]string{
		"nobody@example.com": "550 5.1.1", "somebody@example.net": "550 5.7.54",
	} {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			mailtest.WantReply(t, send(to), reply)
		})
	}
}

// first waits for a message in a directory.
func first(t *testing.T, dir string) string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range int(mailtest.Patience / (10 * time.Millisecond)) {
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			b, err := os.ReadFile(filepath.Join(dir, entries[0].Name()))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		<-tick.C
	}
	t.Fatalf("nothing has arrived in %s", dir)
	return ""
}
