package pgspooltest_test

import (
	"bufio"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// echo answers each line with a word and the line.
func echo(t *testing.T, word string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(word + line))
				}
			}()
		}
	}()
	return l.Addr().String()
}

// peer is a connection through a proxy.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *pgspooltest.Proxy) *peer {
	t.Helper()
	u, err := url.Parse(p.URL(t, "postgres://somebody@example.test:5432/db"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{t, c, bufio.NewReader(c)}
}

// ask sends a line and returns the answer.
func (p *peer) ask(patience time.Duration) string {
	_, _ = p.Write([]byte("hi\n"))
	return p.answer(patience)
}

// answer returns the next answer, or empty if none comes.
func (p *peer) answer(patience time.Duration) string {
	_ = p.SetReadDeadline(time.Now().Add(patience))
	line, _ := p.r.ReadString('\n')
	return line
}

func TestProxy(t *testing.T) {
	t.Parallel()
	p := pgspooltest.NewProxy(t, echo(t, "one "))
	c := dial(t, p)
	expect := func(c *peer, want string) {
		t.Helper()
		if got := c.ask(10 * time.Second); got != want {
			t.Errorf("the answer is %q, want %q", got, want)
		}
	}
	expect(c, "one hi\n")

	p.Stall()
	late := dial(t, p)
	for _, c := range []*peer{c, late} {
		if got := c.ask(50 * time.Millisecond); got != "" {
			t.Errorf("while it is stalled the answer is %q", got)
		}
	}
	p.Restore()
	for _, c := range []*peer{c, late} {
		if got := c.answer(10 * time.Second); got != "one hi\n" {
			t.Errorf("what was held back became %q", got)
		}
	}

	p.Cut()
	expect(c, "")
	expect(dial(t, p), "")
	p.Restore()
	c = dial(t, p)
	expect(c, "one hi\n")

	p.Reset()
	expect(c, "")
	c = dial(t, p)
	expect(c, "one hi\n")

	p.Redirect(echo(t, "two "))
	expect(c, "")
	expect(dial(t, p), "two hi\n")
}
