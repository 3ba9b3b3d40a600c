package connector_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestScripts plays the files of testdata. README.md there describes them.
func TestScripts(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range scriptCases(t, file, string(text)) {
				t.Run(c.title, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.play(t, ca) })
				})
			}
		})
	}
}

// scriptCase is what stands between two titles.
type scriptCase struct {
	title string
	lines []scriptLine
}

type scriptLine struct {
	at    string // file:line
	verb  string
	rest  string // behind the verb
	want  string // behind the arrow
	arrow bool
}

func scriptCases(t *testing.T, file, text string) []*scriptCase {
	t.Helper()
	var list []*scriptCase
	var common []scriptLine // before the first title
	n := 0
	for s := range strings.Lines(text) {
		n++
		l := scriptLine{at: fmt.Sprintf("%s:%d", file, n)}
		s, _, _ = strings.Cut(strings.TrimSpace(s), "  #")
		if title, ok := strings.CutPrefix(s, "== "); ok {
			list = append(list, &scriptCase{title: title, lines: slices.Clone(common)})
			continue
		}
		if s == "" || s[0] == '#' {
			continue
		}
		s, l.want, l.arrow = strings.Cut(s, " -> ")
		l.verb, l.rest, _ = strings.Cut(strings.TrimSpace(s), " ")
		l.rest, l.want = strings.TrimSpace(l.rest), strings.TrimSpace(l.want)
		if len(list) == 0 {
			common = append(common, l)
			continue
		}
		last := list[len(list)-1]
		last.lines = append(last.lines, l)
	}
	return list
}

// play configures a relay and holds its sessions.
func (c *scriptCase) play(t *testing.T, ca *authority) {
	p := &player{t: t, ca: ca, users: map[string]*auth.Identity{}, w: newWire()}
	p.cfg = relay.Config{
		Hostname: "relay.example.test", TLS: ca.server(),
		Spool: &recorder{Store: memspool.New(nil), player: p}, Resolver: noDNS{},
		Events: p.event, Logger: slog.New(&refusals{player: p}),
		Verifier: auth.VerifierFunc(p.verify),
		Mailboxes: delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			return nil
		}),
		Policy: relay.Policy{Mail: p.mailPolicy},
	}
	lines := c.lines
	for len(lines) > 0 && lines[0].verb != "session" {
		p.configure(lines[0])
		lines = lines[1:]
	}
	r, err := relay.New(p.cfg)
	if err != nil || p.unread != nil || p.faults != nil {
		p.checkFaults(err)
		return
	}
	p.relay = r
	served := make(chan error)
	go func() { served <- r.Serve(p.w) }()
	for _, l := range lines {
		p.step(l)
	}
	p.hangUp()
	for _, conn := range p.held {
		_ = conn.conn.Close()
	}
	synctest.Wait()
	p.checkRefusals("the end", 0)
	_ = r.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
