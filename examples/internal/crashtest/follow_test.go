package crashtest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestKillFollow kills a process that submits, delivers and follows its event
// log, again and again. In the end its consumer has seen, of every recipient
// that was accepted, exactly one fate.
func TestKillFollow(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	dir, n := t.TempDir(), 20
	if os.Getenv("KILLS") != "" {
		n = kills(t)
	}
	// A busy machine takes more lives, and longer ones, to get enough mail.
	for i := 0; i < n || copiesIn(dir) < 2*n && i < 10*n; i++ {
		p := startFollower(t, dir, "load")
		life := rand.N(600*time.Millisecond) * time.Duration(1+i/n)
		wait(t.Context(), 50*time.Millisecond+life)
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("the process ended by itself: %v\n%s", err, log)
		}
	}
	if err := startFollower(t, dir, "drain").Wait(); err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		t.Fatalf("the last process: %v\n%s", err, log)
	}
	checkFates(t, dir, n)
}

// copiesIn counts the copies that were acknowledged so far.
func copiesIn(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "acknowledged"))
	return bytes.Count(b, []byte(".test\n"))
}

func startFollower(t *testing.T, dir, mode string) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(
		filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600,
	)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFollowerProcess$")
	cmd.Env = append(os.Environ(), "FOLLOWER="+dir, "FOLLOWER_MODE="+mode)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// checkFates compares what was acknowledged with what the consumer has seen.
func checkFates(t *testing.T, dir string, kills int) {
	t.Helper()
	type copyOf struct{ queueID, to string }
	accepted, fates := map[copyOf]bool{}, map[copyOf]map[string]event.Kind{}
	seen, again, kinds := map[string]bool{}, 0, map[event.Kind]int{}
	for _, line := range lines(t, dir, "seen") {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // torn by a kill: it was not taken, and comes again
		}
		if seen[e.ID] {
			again++
			continue
		}
		seen[e.ID] = true
		kinds[e.Kind]++
		for _, to := range e.To {
			c := copyOf{e.QueueID, to}
			if e.Kind == event.Accepted {
				accepted[c] = true
			} else if e.Kind.Fate() {
				if fates[c] == nil {
					fates[c] = map[string]event.Kind{}
				}
				fates[c][e.ID] = e.Kind
			}
		}
	}
	acknowledged := 0
	for _, line := range lines(t, dir, "acknowledged") {
		id, to, ok := strings.Cut(line, " ")
		if !ok || !strings.HasSuffix(to, ".test") {
			continue // torn by a kill
		}
		if acknowledged++; !accepted[copyOf{id, to}] {
			t.Errorf("%s to %s was acknowledged, and is not in the log", id, to)
		}
	}
	for c := range accepted {
		if len(fates[c]) != 1 {
			t.Errorf(
				"%v has the fates %v; its events:\n%s", c, fates[c], history(t, dir, c.queueID),
			)
		}
	}
	for c := range fates {
		if !accepted[c] {
			t.Errorf("%v has a fate and was never accepted", c)
		}
	}
	t.Logf("%d kills, %d copies acknowledged, %d in the log, %v, %d events seen again",
		kills, acknowledged, len(accepted), kinds, again)
	if acknowledged < 2*kills {
		t.Errorf("only %d copies were acknowledged: too few to tell anything", acknowledged)
	}
}

// history is what the consumer has seen of a message.
func history(t *testing.T, dir, queueID string) string {
	t.Helper()
	var all []string
	for _, line := range lines(t, dir, "seen") {
		if strings.Contains(line, queueID) {
			all = append(all, line)
		}
	}
	return strings.Join(all, "\n")
}

func lines(t *testing.T, dir, name string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(b), "\n")
}

// TestFollowerProcess is the process that TestKillFollow starts and kills.
func TestFollowerProcess(t *testing.T) {
	dir := os.Getenv("FOLLOWER")
	if dir == "" {
		return
	}
	store, err := filespool.Open(filepath.Join(dir, "spool"), &filespool.Options{
		SegmentBytes: 1 << 20, Wait: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: store,
		EventLog: relay.EventLog{Retention: time.Hour},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("app")},
		},
		Mailboxes: delivery.TransportFunc(moody),
		Transport: delivery.TransportFunc(moody),
		Retry:     delivery.Retry{Schedule: []time.Duration{time.Second}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- r.Run(ctx) }()
	go func() { done <- r.Follow(ctx, "test", noting(t, filepath.Join(dir, "seen"))) }()
	if os.Getenv("FOLLOWER_MODE") == "load" {
		for ctx.Err() == nil {
			submitAndTell(t, r, dir)
		}
	}
	drain(t, r, store)
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// moody takes, refuses and defers at random.
func moody(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	wait(ctx, rand.N(20*time.Millisecond))
	results := make([]delivery.Result, len(a.Recipients))
	for i := range results {
		switch rand.N(6) {
		case 0:
			results[i].Err = relay.Reject(550, "5.1.1", "No such user")
		case 1:
			results[i].Err = relay.Defer(451, "4.2.1", "Not now")
		default:
			results[i].Delivered = true
		}
	}
	return results
}

// noting is a consumer that writes what it has seen to a file.
func noting(t *testing.T, name string) func(context.Context, []event.Event) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return func(_ context.Context, events []event.Event) error {
		w := bufio.NewWriter(f)
		_ = w.WriteByte('\n') // behind a line that a kill has torn
		for i := range events {
			_, _ = w.Write(append(event.Append(nil, &events[i]), '\n'))
		}
		return w.Flush()
	}
}

var letter = "From: app@example.test\nSubject: hi\n\n" + strings.Repeat("line\n", 200)

// submitAndTell submits a message, notes that it was acknowledged, and cancels
// some.
func submitAndTell(t *testing.T, r *relay.Relay, dir string) {
	m := &relay.Message{
		From: "app@example.test", Stream: "test", Content: strings.NewReader(letter),
		To: []string{"a@a.test", fmt.Sprintf("%d@b.test", rand.N(1000))},
	}
	if rand.N(4) == 0 {
		m.Expires = time.Now().Add(time.Second)
	}
	receipt, err := r.Submit(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(
		filepath.Join(dir, "acknowledged"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600,
	)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, to := range m.To {
		fmt.Fprintf(f, "%s %s\n", receipt.QueueID, to)
	}
	if rand.N(8) == 0 {
		_, err := r.Cancel(t.Context(), receipt.QueueID)
		if err != nil && !errors.Is(err, relay.ErrUnderWay) && !errors.Is(err, relay.ErrNotFound) {
			t.Fatal(err)
		}
	}
	wait(t.Context(), rand.N(10*time.Millisecond))
}

// drain waits until nothing is queued and the consumer has seen everything, and
// stays so: the store writes settlements a little later than it answers.
func drain(t *testing.T, r *relay.Relay, store *filespool.Store) {
	t.Helper()
	quiet := 0
	for deadline := time.Now().Add(mailtest.Patience + time.Minute); ; {
		stats, err := r.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, newest, err := store.Bounds(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at, err := store.Cursor(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		if quiet++; stats.Messages > 0 || at != newest {
			quiet = 0
		}
		if quiet == 20 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v; the consumer is at %d of %d", stats, at, newest)
		}
		wait(t.Context(), 50*time.Millisecond)
	}
}
