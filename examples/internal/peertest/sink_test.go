package peertest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// sinkMode is a fault of Postfix's smtp-sink, by its flags, and what becomes of
// mail for it at the first attempt.
type sinkMode struct {
	flags string
	fate  string // delivered, deferred, bounced
	// copies of a message that smtp-sink dumps: whoever breaks off behind the
	// content has it all.
	copies int
}

// sinkModes are smtp-sink's ways to fail: commands refused for good (-f) and
// for now (-r), answered by a close (-q) and by 421 and a close (-Q),
// extensions left out, delays, small windows.
func sinkModes() []sinkMode {
	modes := []sinkMode{
		{"", "delivered", 1},
		{"-8", "delivered", 1},
		{"-e", "delivered", 1},
		{"-E", "delivered", 1},
		{"-p", "delivered", 1},
		{"-P", "delivered", 1},
		{"-N", "delivered", 1},
		{"-a -C -F", "delivered", 1},
		{"-h relay.example.test", "delivered", 1},
		{"-A 0", "bounced", 0},
		{"-A 1", "bounced", 0},
		{"-H 1", "delivered", 1},
		{"-w 1", "delivered", 1},
		{"-W CONNECT:1", "delivered", 1},
		{"-W EHLO:1", "delivered", 1},
		{"-W MAIL:1", "delivered", 1},
		{"-p -W RCPT:1", "delivered", 1}, // pipelined, its replies come out of order
		{"-W .:1", "delivered", 1},
		{"-T 1024", "delivered", 1},
		{"-n 2", "delivered", 1},
		{"-B 554_5.7.1_no -f RCPT", "bounced", 0},
		{"-b 421_4.7.0_no -r MAIL", "deferred", 0},
	}
	fates := map[string][4]string{ // by -f, -r, -q, -Q
		"CONNECT": {"bounced", "deferred", "deferred", "deferred"},
		"EHLO":    {"delivered", "deferred", "deferred", "deferred"}, // HELO after a 5xx
		"MAIL":    {"bounced", "deferred", "deferred", "deferred"},
		"RCPT":    {"bounced", "deferred", "deferred", "deferred"},
		"DATA":    {"bounced", "deferred", "deferred", "deferred"},
		".":       {"bounced", "deferred", "deferred", "deferred"},
		"RSET":    {"delivered", "delivered", "delivered", "delivered"},
		"QUIT":    {"delivered", "delivered", "delivered", "delivered"},
		"HELO":    {"delivered", "delivered", "delivered", "delivered"},
		"NOOP":    {"delivered", "delivered", "delivered", "delivered"},
		"VRFY":    {"delivered", "delivered", "delivered", "delivered"},
	}
	for command, by := range fates {
		for i, flag := range []string{"-f", "-r", "-q", "-Q"} {
			m := sinkMode{flags: flag + " " + command, fate: by[i]}
			if m.fate == "delivered" || command == "." {
				m.copies = 1
			}
			modes = append(modes, m)
		}
	}
	return append(modes,
		sinkMode{"-e -f HELO", "bounced", 0},
		sinkMode{"-e -r HELO", "deferred", 0},
	)
}

// startSMTPSink runs smtp-sink at addr. What it takes lies in the directory
// returned.
func startSMTPSink(t *testing.T, addr, flags string) (dir string) {
	t.Helper()
	dir = openDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"-d", dir + "/m."}
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	for _, flag := range strings.Fields(flags) {
		args = append(args, strings.ReplaceAll(flag, "_", " "))
	}
	var says bytes.Buffer
	cmd := exec.Command("/usr/sbin/smtp-sink", append(args, addr, "100")...)
	cmd.Stderr = &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return dir
		}
		if time.Now().After(end) {
			t.Fatalf("smtp-sink %s: %v %s", flags, err, says.String())
		}
	}
}

// dumped counts the whole messages for a recipient.
func dumped(t *testing.T, dir, to string) (n int) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // smtp-sink removes what broke off
		}
		if err != nil {
			t.Fatal(err)
		}
		whole := bytes.Contains(text, []byte("\nthe end\n"))
		if whole && bytes.Contains(text, []byte("X-Rcpt-Args: <"+to+">")) {
			n++
		}
	}
	return n
}

// Whatever Postfix's smtp-sink does wrong, each recipient has the right fate
// after an attempt, and nobody gets a second copy. The second message comes
// when the connection of the first may still be open.
func TestSmtpSink(t *testing.T) {
	modes := sinkModes()
	names := make(map[string]int, len(modes))
	for i := range modes {
		names[fmt.Sprintf("mode%d.example.net", i)] = i
	}
	addrs := freeAddrs(t, names)
	var fates inbox[string]
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil), MaxDeliveries: 2 * len(modes),
		Retry: delivery.Retry{Schedule: []time.Duration{time.Hour}},
		Events: func(e event.Event) {
			switch e.Kind {
			case event.Delivered, event.Deferred, event.Bounced, event.Expired:
				fates.at(e.To[0]) <- fmt.Sprint(e.Kind, " ", e.Code, " ", e.Text)
			}
		},
	}
	for domain := range names {
		cfg.SendConnectors = append(cfg.SendConnectors, &connector.SendConnector{
			Name: domain,
			NextHop: connector.NextHop{
				Hosts: []string{addrs[domain]}, TLS: connector.TLSNone,
			},
			AddressSpaces: []connector.AddressSpace{{Domain: domain}},
		})
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	t.Run("modes", func(t *testing.T) {
		for domain, i := range names {
			mode := modes[i]
			t.Run(strings.ReplaceAll("sink "+mode.flags, " ", "_"), func(t *testing.T) {
				t.Parallel()
				dir := startSMTPSink(t, addrs[domain], mode.flags)
				for _, user := range []string{"one", "two"} {
					to := []string{user + "@" + domain, "other-" + user + "@" + domain}
					_, err := r.Submit(t.Context(), &relay.Message{
						From: "app@example.test", To: to, Notify: spool.NotifyNever,
						Content: mailContent(to[0]),
					})
					if err != nil {
						t.Fatal(err)
					}
					for _, a := range to {
						if got := fates.next(t, a); !strings.HasPrefix(got, mode.fate+" ") {
							t.Errorf("%s: %s, want %s", a, got, mode.fate)
						}
					}
				}
				for _, a := range []string{"one@", "other-one@", "two@", "other-two@"} {
					if n := dumped(t, dir, a+domain); n != mode.copies {
						t.Errorf("%s%s: %d copies, want %d", a, domain, n, mode.copies)
					}
				}
			})
		}
	})
}

func mailContent(to string) io.Reader {
	return strings.NewReader("From: app@example.test\r\nTo: " + to + "\r\nSubject: mode\r\n\r\n" +
		strings.Repeat("a line of the message\r\n", 2000) + "the end\r\n")
}
