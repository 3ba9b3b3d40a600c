package delay

import (
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

const oneWay = 25 * time.Millisecond

// TestPiecesDoNotWaitForEachOther sends many pieces at once: the last arrives
// no later than the first.
func TestPiecesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		p := &Proxy{oneWay: oneWay}
		near, src := net.Pipe()
		dst, far := net.Pipe()
		go func() { write(t.Context(), dst, src, p.read(src)) }()
		go func() {
			for range 200 {
				_, _ = near.Write(make([]byte, 100))
			}
			time.Sleep(10 * time.Millisecond)
			_, _ = near.Write([]byte("later"))
			near.Close()
		}()
		var arrived []time.Duration
		buf := make([]byte, 100)
		for range 200 {
			if _, err := io.ReadFull(far, buf); err != nil {
				t.Fatal(err)
			}
			arrived = append(arrived, time.Since(begin))
		}
		if first, last := arrived[0], slices.Max(arrived); first != oneWay || last != oneWay {
			t.Errorf("the first piece took %v, the last %v", first, last)
		}
		if rest, err := io.ReadAll(far); string(rest) != "later" || err != nil {
			t.Errorf("then %q, %v", rest, err)
		}
		if took := time.Since(begin); took != 10*time.Millisecond+oneWay {
			t.Errorf("the end came after %v", took)
		}
	})
}

// TestRoundTrips sees that nothing is faster than it may be, and that nothing
// is lost.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Write([]byte("hello"))
		_, _ = io.Copy(c, c)
	}()
	p, err := Start(l.Addr().String(), oneWay)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	begin := time.Now()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 4*oneWay {
		t.Errorf("the first words came after %v", took)
	}
	begin = time.Now()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !slices.Equal(got, sent) {
		t.Errorf("%d octets came back of %d, %v", len(got), len(sent), err)
	}
	if took := time.Since(begin); took < 2*oneWay {
		t.Errorf("a round trip took %v", took)
	}
}

// TestStopEndsConnections sees that Stop leaves nothing behind, whatever is
// under way.
func TestStopEndsConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := Start(l.Addr().String(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("words")); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Stop()
	if _, err := io.ReadAll(c); err == nil {
		return
	} else if _, ok := err.(*net.OpError); !ok {
		t.Error(err)
	}
}
