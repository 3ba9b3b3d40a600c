package outbound

import (
	"io"
)

// ReadReply reads one reply as a connection does.
func ReadReply(src io.Reader) (code int, enhanced, text string, lines int, err error) {
	d := &replyReader{src: src}
	var rep reply
	if err = d.read(&rep, func([]byte) { lines++ }); err != nil {
		return 0, "", "", lines, err
	}
	copied := rep.copied()
	return copied.Code, copied.Enhanced, copied.Text, lines, nil
}

// Limits of a reply.
const (
	MaxReplyLine  = maxReplyLine
	MaxReplyLines = maxReplyLines
	MaxReplyBytes = maxReplyBytes
	MaxReplyText  = maxReplyText
	BlockSize     = blockSize
)

// DataOf gives what DATA carries for a content.
func DataOf(content io.Reader) ([]byte, error) {
	return framed(content, func(c *blocks) ([]byte, error) { return c.lines() })
}

// ChunksOf gives what BDAT carries for a content.
func ChunksOf(content io.Reader) ([]byte, error) {
	return framed(content, func(c *blocks) ([]byte, error) { return c.chunk(nil, "") })
}

type blocks = content

func framed(src io.Reader, frame func(*blocks) ([]byte, error)) (out []byte, err error) {
	c := new(blocks)
	err = c.begin(io.NopCloser(src))
	for err == nil {
		var b []byte
		if b, err = frame(c); err != nil {
			return nil, err
		}
		out = append(out, b...)
		if c.last {
			return out, nil
		}
		err = c.next()
	}
	return nil, err
}

// Public is for tests.
var Public = public

// RefusedFor is how long a refused password rests.
const RefusedFor = refusedFor

// Hops is the number of next hops the pool remembers.
func (c *Client) Hops() int {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return len(c.pool.hops)
}

// Idle is the number of idle connections.
func (c *Client) Idle() int {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.pool.shelf.n
}

// Dead is the number of hosts and addresses remembered as dead.
func (c *Client) Dead() int {
	c.dead.mu.Lock()
	defer c.dead.mu.Unlock()
	return len(c.dead.until)
}

// FitAddress and AppendORCPT are for fuzzing.
var (
	FitAddress  = fitAddress
	AppendORCPT = appendORCPT
)

// MaxSessions bounds the TLS sessions kept.
const MaxSessions = maxSessions

// Sessions is the number of TLS sessions kept.
func (c *Client) Sessions() int {
	c.sessions.mu.Lock()
	defer c.sessions.mu.Unlock()
	return len(c.sessions.byKey)
}

// Domains is the number of domains whose site is remembered.
func (c *Client) Domains() int {
	c.sites.mu.Lock()
	defer c.sites.mu.Unlock()
	return len(c.sites.domains)
}
