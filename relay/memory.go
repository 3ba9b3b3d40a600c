package relay

import (
	"errors"
	"io"

	"github.com/postern-mail/postern/relay/internal/smtpd"
)

const (
	// messageMemory is what every message being received takes up: the buffers of its
	// connection and the beginning of its header.
	messageMemory = 64 << 10
	// freeHeader is the part of a header that messageMemory has room for. Each
	// further byte counts headerWeight times: for the section, for where its fields
	// are, as short as they can be, and for both again when one is changed.
	freeHeader   = 8 << 10
	headerWeight = 16
	// contentMemory is how much of a content a store keeps in memory, as filespool
	// does.
	contentMemory = 128 << 10
)

var errMemory = errors.New("relay: the memory for messages being received is used up")

// share is what one message has of the memory for messages being received.
type share struct {
	all   *smtpd.Budget
	taken int64
}

func (s *share) take(n int64) error {
	if !s.all.Take(n) {
		return replyNoRoom(errMemory)
	}
	s.taken += n
	return nil
}

func (s *share) release() {
	s.all.Give(s.taken)
	s.taken = 0
}

// measuredHeader counts a content while its header is read.
type measuredHeader struct {
	io.Reader
	share *share
	free  int64 // octets that do not count
	done  bool
}

func (m *measuredHeader) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.done {
		return n, err
	}
	m.free -= int64(n)
	if m.free < 0 {
		if err := m.share.take(-m.free * headerWeight); err != nil {
			return 0, err
		}
		m.free = 0
	}
	return n, err
}

// WriteTo is for the body. It keeps the blocks that the socket gave.
func (m *measuredHeader) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, m.Reader) }

// measuredContent counts a content as far as a store keeps it in memory.
type measuredContent struct {
	io.Writer
	share *share
	left  int64 // octets that may still count
}

func (m *measuredContent) Write(p []byte) (int, error) {
	if n := min(int64(len(p)), m.left); n > 0 {
		if err := m.share.take(n); err != nil {
			return 0, err
		}
		m.left -= n
	}
	return m.Writer.Write(p)
}
