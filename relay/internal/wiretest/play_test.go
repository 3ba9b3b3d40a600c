package wiretest_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// Both sides can play the same dialogue, and each hears what the other says.
func TestBothSides(t *testing.T) {
	const dialogue = `# all but TLS
S: 220 mx.example.test ESMTP
C: EHLO client.test
S: 250-mx.example.test
S* 2 250-MORE
S: 250 HELP
silent
C* 2 NOOP\r\n
S* 2 250 2.0.0 OK
wait 1m
C> partial
S> 500 no line\r\n
hangup
`
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		s := wiretest.Join(t, far, wiretest.Server)
		defer s.Close()
		done := make(chan error, 1)
		go func() {
			for line := range strings.Lines(dialogue) {
				switch line = strings.TrimSuffix(line, "\n"); line {
				case "silent": // for both: who comes first hears the other
					continue
				case `C* 2 NOOP\r\n`:
					line = `C> NOOP\r\nNOOP\r\n`
				}
				if err := s.Do(line); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		c := wiretest.Join(t, near, wiretest.Client)
		defer c.Close()
		c.Play(dialogue)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A side that hears something else says so.
func TestWrongLine(t *testing.T) {
	for said, wants := range map[string][]string{
		"250 2.0.0 OK": {"250 2.1.0 *", "250", "*5.0"}, "NOOP": {"noop"},
	} {
		for _, want := range wants {
			near, far := net.Pipe()
			s, c := wiretest.Join(t, far, wiretest.Server), wiretest.Join(t, near, wiretest.Client)
			s.Say(said)
			if err := c.Do("S: " + want); err == nil {
				t.Errorf("%q counts as %q", said, want)
			}
			s.Close()
			c.Close()
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"*b", "ab", true},
		{"a*c*e", "abcde", true}, {"a*c*e", "abde", false}, {"*", "", true}, {"a*a", "a", false},
	} {
		if got := wiretest.Match(tt.pattern, tt.s); got != tt.want {
			t.Errorf("%q, %q: %v", tt.pattern, tt.s, got)
		}
	}
}
