package outbound_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/spool"
)

// manner is a way in which messages go out.
type manner struct {
	name       string
	extensions string
	lmtp       bool
	lines      int // of 1,000 octets, in the content
	binary     bool
	step       int // from one octet at which a host closes to the next
	more       int // messages behind the first
}

var manners = []manner{
	{name: "plain", extensions: "HELP", step: 1, more: 1},
	{name: "pipelined", extensions: "PIPELINING", step: 1, more: 2},
	{name: "LMTP", extensions: "PIPELINING", lmtp: true, step: 1, more: 2},
	{name: "chunked", extensions: "CHUNKING PIPELINING", step: 1, more: 3},
	{name: "large", extensions: "CHUNKING PIPELINING", lines: 100, step: 13_007, more: 3},
	{
		name: "large binary", extensions: "CHUNKING PIPELINING BINARYMIME", lines: 100,
		binary: true, step: 13_007, more: 3,
	},
}

// A host may close behind any octet that it has said, and behind any that it
// has heard, from before the greeting to the good-bye. Each recipient has one
// result, what has failed arrives when it is tried again, and a message arrives
// twice only where the reply to its content was not seen.
func TestAnyOctetIsTheLast(t *testing.T) {
	for _, k := range manners {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			whole := k.closes(math.MaxInt, math.MaxInt)
			synctest.Test(t, whole.try)
			said, heard := math.MaxInt-whole.say, math.MaxInt-whole.hear
			if said == 0 || heard == 0 || whole.dialled != 1 {
				t.Fatalf("said %d, heard %d, %d connections", said, heard, whole.dialled)
			}
			for n := 0; n <= said; n += min(k.step, 7) {
				synctest.Test(t, k.closes(n, math.MaxInt).try)
			}
			for n := 0; n <= heard; n += k.step {
				synctest.Test(t, k.closes(math.MaxInt, n).try)
			}
		})
	}
}

// hasty is a host that closes its first connection early.
type hasty struct {
	faultyHost
	manner    manner
	say, hear int // octets until it closes
	dialled   int
	seen      []byte // what the client has read, on all connections
}

func (k manner) closes(say, hear int) *hasty {
	h := &hasty{manner: k, say: say, hear: hear}
	h.extensions, h.lmtp = strings.Fields(k.extensions), k.lmtp
	h.taken = make(map[string]int)
	return h
}

// try delivers a message, and then the others at once, on one connection.
func (h *hasty) try(t *testing.T) {
	say, hear := h.say, h.hear
	defer func() {
		if t.Failed() {
			t.Logf("after %d octets said or %d heard", say, hear)
		}
	}()
	c := newClient(t, h.dial)
	begin := time.Now()
	h.deliver(t, c, 0)
	var wg sync.WaitGroup
	for n := range h.manner.more {
		wg.Go(func() { h.deliver(t, c, 1+n) })
	}
	wg.Wait()
	if d := time.Since(begin); d > time.Second {
		t.Errorf("back after %v", d)
	}
	c.Close()
	time.Sleep(time.Minute)
	if n := c.Connections(h.request(0).Hop, []string{""}); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
}

func (h *hasty) request(n int) *outbound.Request {
	r := pair(n, h.lmtp)
	for i := range r.Recipients {
		r.Recipients[i].Address, _, _ = strings.Cut(r.Recipients[i].Address, ".")
	}
	if h.manner.lines > 0 {
		line := strings.Repeat(".", 998) + "\r\n"
		content := fmt.Sprintf("Subject: %d\r\n\r\n", n) + strings.Repeat(line, h.manner.lines)
		r.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		}
	}
	if h.manner.binary {
		r.Message.Body = spool.BodyBinaryMIME
	}
	return r
}

// deliver delivers a message, and once more what has failed for now: only one
// connection goes wrong.
func (h *hasty) deliver(t *testing.T, c *outbound.Client, n int) {
	r := h.request(n)
	for tries := 1; len(r.Recipients) > 0 && tries <= 2; tries++ {
		res := c.Deliver(context.Background(), r)
		if len(res) != len(r.Recipients) {
			t.Errorf("%d results for %d recipients", len(res), len(r.Recipients))
			return
		}
		var left []spool.Recipient
		for i, to := range r.Recipients {
			if h.judge(t, n, tries, to.Address, res[i]) {
				left = append(left, to)
			}
		}
		r.Recipients = left
	}
	if len(r.Recipients) > 0 {
		t.Errorf("message %d is not delivered", n)
	}
}

// judge compares a result with what was said and seen. again tells that it is
// not final.
func (h *hasty) judge(
	t *testing.T, n, tries int, to string, res delivery.Result,
) (again bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key, exists := fmt.Sprint(n), strings.HasPrefix(to, "yes")
	if h.lmtp {
		key += " " + to
	}
	copies, seen := h.taken[key], bytes.Count(h.seen, []byte("250 2.0.0 "+key+"\r\n"))
	e := failureOf(res)
	switch {
	case !res.Delivered && res.Err == nil:
		t.Errorf("%s: no result", to)
	case res.Delivered && (!exists || res.Reply.Text != key || seen != 1 || copies > tries):
		t.Errorf("%s: %s, %d copies, %d replies seen", to, show(res), copies, seen)
	case res.Delivered:
	case e.Permanent && (exists || e.Reply.Text != to):
		t.Errorf("%s: %s", to, show(res))
	case e.Permanent:
	case seen > 0 || e.Reply.Code != 0:
		t.Errorf("%s: %s, %d copies, %d replies seen", to, show(res), copies, seen)
	default:
		return true
	}
	return false
}

func (h *hasty) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h.dialled++ // one at a time
	serve := h.serve
	if h.dialled == 1 {
		serve = func(c net.Conn) { h.serve(&brief{c, h}) }
	}
	c, err := afar(dialPipe(serve), time.Millisecond)(ctx, network, addr)
	return &watched{c, h}, err
}

// brief is the host's side of a connection that it closes early.
type brief struct {
	net.Conn
	*hasty
}

func (b *brief) Read(p []byte) (int, error) {
	if b.hear == 0 {
		return 0, io.EOF
	}
	n, err := b.Conn.Read(p[:min(len(p), b.hear)])
	b.hear -= n
	return n, err
}

func (b *brief) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(p[:min(len(p), b.say)])
	if b.say -= n; b.say == 0 {
		b.Conn.Close()
	}
	if err == nil && n < len(p) {
		err = io.ErrClosedPipe
	}
	return n, err
}

// watched is the client's side of a connection.
type watched struct {
	net.Conn
	*hasty
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p[:n]...)
	return n, err
}
