package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postern-mail/postern/relay/spool"
)

var errOriginal = errors.New("relay: the original cannot be read")

// original is the content that a report attaches; nothing is attached of an
// empty one. It remembers why it could not be read.
type original struct {
	content io.ReadCloser
	err     error
}

// original opens the content of a message, if it is to be shown.
func (s *settler) original(ctx context.Context, id spool.ID, whole bool) (*original, error) {
	if !whole {
		return &original{}, nil
	}
	content, err := s.Store.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOriginal, err)
	}
	return &original{content: content}, nil
}

// reader returns what to attach; nil for nothing.
func (o *original) reader() io.Reader {
	if o.content == nil {
		return nil
	}
	return o
}

func (o *original) Read(p []byte) (int, error) {
	n, err := o.content.Read(p)
	if err != nil && err != io.EOF {
		o.err = err
	}
	return n, err
}

// because tells an error of reading from one of writing.
func (o *original) because(err error) error {
	if o.err != nil {
		return fmt.Errorf("%w: %w", errOriginal, o.err)
	}
	return err
}

// Close ends the reading.
func (o *original) Close() error {
	if o.content == nil {
		return nil
	}
	return o.content.Close()
}
