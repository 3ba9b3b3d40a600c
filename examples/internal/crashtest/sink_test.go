package crashtest_test

import (
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// arrival is one arrival of a message.
type arrival struct {
	at    time.Time
	life  int64 // of the gateway: how often it had been killed
	whole bool
}

// sink is a next hop that takes two of three messages and notes them before it
// says 250.
type sink struct {
	addr string
	life atomic.Int64

	mu      sync.Mutex
	arrived map[string][]arrival
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &sink{addr: l.Addr().String(), arrived: map[string][]arrival{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	// what is still in the connection after a kill belongs to the life before
	// it
	life := s.life.Load()
	p := textproto.NewConn(c)
	reply := func(text string) { _ = p.PrintfLine("%s", text) }
	reply("220 sink.example.test ESMTP")
	for {
		line, err := p.ReadLine()
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(line, " "); strings.ToUpper(verb) {
		case "EHLO":
			reply("250-sink.example.test")
			reply("250-PIPELINING")
			reply("250 8BITMIME")
		case "DATA":
			reply("354 go on")
			content, err := io.ReadAll(p.DotReader())
			if err != nil {
				return
			}
			if rand.N(3) == 0 {
				reply("451 not now") // so that the queue always holds something to lose
				continue
			}
			s.note(string(content), life)
			reply("250 taken")
		case "QUIT":
			reply("221 bye")
			return
		default:
			reply("250 ok")
		}
	}
}

func (s *sink) note(content string, life int64) {
	_, rest, _ := strings.Cut(content, "Subject: <")
	id, _, _ := strings.Cut(rest, ">")
	d := arrival{time.Now(), life, strings.HasSuffix(content, "end of <"+id+">\n")}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived[id] = append(s.arrived[id], d)
}

// all are the deliveries so far of each message.
func (s *sink) all() map[string][]arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.arrived)
}

// missing are those of the messages that have not arrived.
func (s *sink) missing(ids []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []string
	for _, id := range ids {
		if len(s.arrived[id]) == 0 {
			missing = append(missing, id)
		}
	}
	return missing
}

// await returns when all the messages have arrived.
func (s *sink) await(t *testing.T, ids []string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; wait(t.Context(), 50*time.Millisecond) {
		ids = s.missing(ids)
		if len(ids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d acknowledged messages have not arrived, such as %s", len(ids), ids[0])
		}
	}
}
