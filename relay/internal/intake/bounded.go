package intake

import (
	"bytes"
	"fmt"
	"io"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// BoundedReader ends with a refusal after left octets, if it is bounded. A bare
// CR counts as the line end that [crWriter] makes of it.
type BoundedReader struct {
	r       *CRLFReader
	bounded bool
	left    int64
	buf     [4096]byte
}

// Bound returns content that ends with a refusal after most octets; 0 or less
// is no bound.
func Bound(content *CRLFReader, most int64) *BoundedReader {
	return &BoundedReader{r: content, bounded: most > 0, left: most}
}

// WriteTo spares io.Copy a buffer of its own.
func (b *BoundedReader) WriteTo(w io.Writer) (done int64, err error) {
	for {
		n, err := b.Read(b.buf[:])
		if n > 0 {
			m, err := w.Write(b.buf[:n])
			if done += int64(m); err != nil {
				return done, err
			}
		}
		if err == io.EOF {
			return done, nil
		} else if err != nil {
			return done, err
		}
	}
}

func (b *BoundedReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.bounded && n > 0 {
		// Each LF has its CR: what is more of these is bare.
		bare := bytes.Count(p[:n], []byte{'\r'}) - bytes.Count(p[:n], []byte{'\n'})
		b.left -= int64(n + bare)
		room := b.left
		if p[n-1] == '\r' {
			room++ // its LF may come
		}
		if room < 0 {
			return 0, policy.TooLarge.Reply()
		}
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("relay: reading the content: %w", err)
	}
	return n, err
}
