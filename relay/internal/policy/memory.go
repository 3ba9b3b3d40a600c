package policy

import (
	"errors"
	"io"
)

const (
	// MessageMemory is what every message being received takes up: the buffers
	// of its connection and the beginning of its header.
	MessageMemory = 64 << 10
	// freeHeader is the part of a header that MessageMemory has room for. Each
	// further byte counts headerWeight times: for the section, for where its
	// fields are, as short as they can be, and for both again when one is
	// changed.
	freeHeader   = 8 << 10
	headerWeight = 16
	// freeContent is the part of a content that MessageMemory has room for, and
	// contentMemory how much of it a store keeps in memory, as filespool does.
	freeContent   = 16 << 10
	contentMemory = 128 << 10
)

// ErrMemory is the cause of a refusal for want of memory.
var ErrMemory = errors.New("relay: the memory for messages being received is used up")

// Share is what one message has of the memory for messages being received. It
// counts the message on its way in.
type Share struct {
	all     *Budget
	taken   int64
	header  measuredHeader
	content measuredContent
}

// NewShare begins a message's share of all.
func NewShare(all *Budget) *Share { return &Share{all: all} }

// Take takes memory that any message needs.
func (s *Share) Take(n int64) error { return s.took(s.all.Take(n), n) }

// takeSpare takes memory that few messages need, so that they do not keep out
// the others.
func (s *Share) takeSpare(n int64) error { return s.took(s.all.TakeSpare(n), n) }

func (s *Share) took(ok bool, n int64) error {
	if !ok {
		return NoRoom.Because(ErrMemory)
	}
	s.taken += n
	return nil
}

// Release gives all back.
func (s *Share) Release() {
	s.all.Give(s.taken)
	s.taken = 0
}

// ReadHeader counts content while its header is read, until HeaderRead.
func (s *Share) ReadHeader(content io.Reader) io.Reader {
	s.header = measuredHeader{Reader: content, share: s, free: freeHeader}
	return &s.header
}

// HeaderRead ends the count of the header.
func (s *Share) HeaderRead() { s.header.done = true }

// WriteContent counts the content that is written to w.
func (s *Share) WriteContent(w io.Writer) io.Writer {
	s.content = measuredContent{Writer: w, share: s}
	return &s.content
}

// measuredHeader counts a content while its header is read.
type measuredHeader struct {
	io.Reader
	share *Share
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
		if err := m.share.takeSpare(-m.free * headerWeight); err != nil {
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
	share *Share
	seen  int64 // octets
}

func (m *measuredContent) Write(p []byte) (int, error) {
	before := m.counted()
	m.seen += int64(len(p))
	if n := m.counted() - before; n > 0 {
		if err := m.share.Take(n); err != nil {
			return 0, err
		}
	}
	return m.Writer.Write(p)
}

// counted is what the octets seen so far count.
func (m *measuredContent) counted() int64 {
	return max(min(m.seen, contentMemory)-freeContent, 0)
}
