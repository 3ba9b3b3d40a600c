package wiretest

import (
	"io"
	"net"
	"sync"
)

// outbox writes what is put into it in order, without anybody waiting for that.
type outbox struct {
	w       io.Writer
	pending sync.WaitGroup // a count for each part that is not yet written

	mu    sync.Mutex
	parts [][]byte
	busy  bool // a goroutine writes them
}

func newOutbox(w io.Writer) *outbox { return &outbox{w: w} }

func (o *outbox) put(b []byte) {
	o.pending.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts = append(o.parts, b)
	if !o.busy {
		o.busy = true
		go o.write()
	}
}

// write writes until nothing is left. Errors are for the reader to meet.
func (o *outbox) write() {
	for {
		o.mu.Lock()
		if len(o.parts) == 0 {
			o.busy = false
			o.mu.Unlock()
			return
		}
		b := o.parts[0]
		o.parts = o.parts[1:]
		o.mu.Unlock()
		_, _ = o.w.Write(b)
		o.pending.Done()
	}
}

// buffered is a connection whose writes do not wait for the other side to read,
// as on a socket.
type buffered struct {
	net.Conn
	out *outbox
}

func (b *buffered) Write(p []byte) (int, error) {
	b.out.put(append([]byte(nil), p...))
	return len(p), nil
}
