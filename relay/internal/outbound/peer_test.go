package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// FuzzPeer lets a peer say anything. Whatever it is, every recipient has a
// result, and none is delivered before the whole content went out and the peer
// has said yes to it.
func FuzzPeer(f *testing.F) {
	f.Add(
		[]byte("220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n250 taken\r\n"), false,
	)
	f.Add(
		[]byte(
			"220 mx\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n452 4.5.3 many\r\n354 "+
				"go\r\n250 taken\r\n",
		),
		false,
	)
	f.Add(
		[]byte(
			"220 mx\r\n250-mx\r\n250-LIMITS RCPTMAX=1\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n"+
				"250 taken\r\n",
		),
		true,
	)
	f.Add([]byte("220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n"), false)
	f.Add(
		[]byte("220 mx\r\n250-mx\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n250 ok\r\n500 what\r\n"),
		false,
	)
	f.Add([]byte("421 no\r\n"), true)
	const ehlo, one = "220 mx\r\n250-mx\r\n250-CHUNKING\r\n250 PIPELINING\r\n",
		"250 2.1.0 ok\r\n250 2.1.5 ok\r\n250 2.1.5 ok\r\n250 2.0.0 taken\r\n"
	const probed = "250 2.1.0 ok\r\n503 no\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n"
	f.Add([]byte(ehlo+one+one+probed+strings.Repeat(one+"250 2.0.0 ok\r\n", 3)), false)
	f.Add([]byte(ehlo+one+strings.Repeat("250 ok\r\n", 4)+"503 no\r\n500 what\r\n"+one), false)
	f.Add([]byte("220 mx\r\n250-mx\r\n250 PIPELINING\r\n"+strings.Repeat(
		"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n250 taken\r\n", 4)), true)
	f.Fuzz(func(t *testing.T, says []byte, lmtp bool) {
		p := &babblers{says: says}
		c := outbound.New(outbound.Config{Hostname: "relay.example.test", Dial: p.dial})
		defer c.Close()
		var wg sync.WaitGroup
		for n := range 5 {
			wg.Go(func() { p.deliver(t, c, n, lmtp) })
			if n == 0 { // the others go ahead, if it has taught that
				wg.Wait()
			}
		}
		wg.Wait()
	})
}

// babblers are peers that say the same on each connection.
type babblers struct {
	says []byte
	mu   sync.Mutex
	list []*babbler
}

func (p *babblers) dial(context.Context, string, string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) == 8 {
		return nil, errors.New("enough")
	}
	b := &babbler{says: bytes.NewReader(p.says)}
	p.list = append(p.list, b)
	return b, nil
}

// deliver delivers a message and checks its results.
func (p *babblers) deliver(t *testing.T, c *outbound.Client, n int, lmtp bool) {
	content := fmt.Sprintf("Subject: %d\r\n\r\n.hi\r\n", n)
	r := newRequest(content, "a@example.net", "b@example.net")
	r.Hop.Hosts, r.Hop.LMTP = []string{"10.0.0.1", "10.0.0.2"}, lmtp
	r.Hop.MaxConnections = 1
	res := c.Deliver(context.Background(), r)
	if len(res) != 2 {
		t.Errorf("%d results", len(res))
	}
	dots := strings.Replace(content, ".hi", "..hi", 1) + ".\r\n"
	for _, one := range res {
		switch {
		case !one.Delivered && one.Err == nil:
			t.Errorf("no result: %+v", one)
		case !one.Delivered:
		case one.Reply.Code/100 != 2:
			t.Errorf("delivered with code %d", one.Reply.Code)
		case !p.heard(dots) && !p.heard(" LAST\r\n"+content):
			t.Error("delivered without content")
		}
	}
}

// heard tells whether one of the peers has been sent a text.
func (p *babblers) heard(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.list {
		b.mu.Lock()
		found := bytes.Contains(b.heard.Bytes(), []byte(text))
		b.mu.Unlock()
		if found {
			return true
		}
	}
	return false
}

// babbler is a peer that says what it has to say without listening, and hangs
// up.
type babbler struct {
	net.Conn
	says  io.Reader
	mu    sync.Mutex
	heard bytes.Buffer
}

func (b *babbler) Read(p []byte) (int, error) { return b.says.Read(p[:min(len(p), 64)]) }

func (b *babbler) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heard.Write(p)
}

func (b *babbler) Close() error                     { return nil }
func (b *babbler) SetDeadline(time.Time) error      { return nil }
func (b *babbler) SetReadDeadline(time.Time) error  { return nil }
func (b *babbler) SetWriteDeadline(time.Time) error { return nil }
