package relay_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestMaildirInRelay refuses at delivery what cannot name a mailbox, and
// reports it.
func TestMaildirInRelay(t *testing.T) {
	dir := t.TempDir()
	w := start(t, func(c *relay.Config) {
		c.Mailboxes = delivery.Maildir(dir)
		c.AcceptedDomains[0].Recipients = anybody()
	})
	submit(t, w.relay, "", "alice@example.test", `"../bob"@example.test`)
	w.events.wait(t, kind(event.Delivered))
	if e := w.events.wait(t, kind(event.Bounced)); e.Enhanced != "5.1.3" {
		t.Errorf("event %+v", e)
	}
	if got := files(t, dir); len(got) != 1 ||
		!strings.HasPrefix(got[0], "alice@example.test/new/") {
		t.Errorf("files %q", got)
	}
}
