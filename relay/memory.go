package relay

import (
	"errors"
	"io"

	"github.com/postern-mail/postern/relay/internal/smtpd"
)

const (
	// messageMemory is what every message being received takes up: the buffers
	// of its connection and the beginning of its header.
	messageMemory = 64 << 10
	// freeHeader is the part of a header that messageMemory has room for. Each
	// further byte counts headerWeight times: for the section, for where its
	// fields are, as short as they can be, and for both again when one is
	// changed.
	freeHeader   = 8 << 10
	headerWeight = 16
	// freeContent is the part of a content that messageMemory has room for, and
	// contentMemory how much of it a store keeps in memory, as filespool does.
	freeContent   = 16 << 10
	contentMemory = 128 << 10
)

var errMemory = errors.New("relay: the memory for messages being received is used up")

// share is what one message has of the memory for messages being received.
type share struct {
	all   *smtpd.Budget
	taken int64
}

// take takes memory that any message needs.
func (s *share) take(n int64) error { return s.took(s.all.Take(n), n) }

// takeSpare takes memory that few messages need, so that they do not keep out
// the others.
func (s *share) takeSpare(n int64) error { return s.took(s.all.TakeSpare(n), n) }

func (s *share) took(ok bool, n int64) error {
	if !ok {
		return replyNoRoom(errMemory)
	}
	s.taken += n
	return nil
}

func (s *share) release() {
	s.all.Give(s.taken)
	s.taken = 0
}

// measured is what counts a message on its way in.
type measured struct {
	share
	header  measuredHeader
	content measuredContent
}

func (m *measured) readHeader(content io.Reader) *measuredHeader {
	m.header = measuredHeader{Reader: content, share: &m.share, free: freeHeader}
	return &m.header
}

func (m *measured) writeContent(w io.Writer) *measuredContent {
	m.content = measuredContent{Writer: w, share: &m.share}
	return &m.content
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
	share *share
	seen  int64 // octets
}

func (m *measuredContent) Write(p []byte) (int, error) {
	before := m.counted()
	m.seen += int64(len(p))
	if n := m.counted() - before; n > 0 {
		if err := m.share.take(n); err != nil {
			return 0, err
		}
	}
	return m.Writer.Write(p)
}

// counted is what the octets seen so far count.
func (m *measuredContent) counted() int64 {
	return max(min(m.seen, contentMemory)-freeContent, 0)
}
