package header

import (
	"io"
)

// body gives what was read ahead and then the rest.
type body struct {
	ahead []byte
	r     io.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		b.ahead = b.ahead[n:]
		return n, nil
	}
	return b.r.Read(p)
}

func (b *body) WriteTo(w io.Writer) (int64, error) {
	var done int64
	if len(b.ahead) > 0 {
		n, err := w.Write(b.ahead)
		b.ahead = b.ahead[n:]
		if done = int64(n); err != nil {
			return done, err
		}
	}
	if e, ok := b.r.(ended); ok {
		if e.err == io.EOF {
			return done, nil
		}
		return done, e.err
	}
	n, err := io.Copy(w, b.r)
	return done + n, err
}

// ended is the rest of a content that has come to its end or its error.
type ended struct{ err error }

func (e ended) Read([]byte) (int, error) { return 0, e.err }
