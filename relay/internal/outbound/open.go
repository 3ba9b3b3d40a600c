package outbound

import (
	"bytes"
	"context"
	"io"
)

// opened is a content and what closes it.
type opened struct {
	io.Reader
	io.Closer
}

// open begins to read the content, as 7-bit MIME if it goes out so.
func (t *transaction) open(ctx context.Context) error {
	if !t.seven {
		src, err := t.req.Open(ctx)
		if err != nil {
			return err
		}
		return t.body.begin(src)
	}
	if err := t.sign(ctx); err != nil {
		return err
	}
	src, err := t.converted(ctx)
	if err != nil {
		return err
	}
	return t.body.begin(opened{io.MultiReader(bytes.NewReader(t.signatures), src), src})
}

// sign signs the converted content, once, if this host has signed the other.
func (t *transaction) sign(ctx context.Context) error {
	if t.signed || t.req.Signatures == nil {
		return nil
	}
	src, err := t.converted(ctx)
	if err != nil {
		return err
	}
	defer src.Close()
	t.signatures, err = t.req.Signatures.Sign(src)
	t.signed = err == nil
	return err
}

// converted opens the content as 7-bit MIME.
func (t *transaction) converted(ctx context.Context) (io.ReadCloser, error) {
	src, err := t.unsigned(ctx)
	if err != nil {
		return nil, err
	}
	return opened{t.plan.Reader(src, t.keep), src}, nil
}

// unsigned opens the content without the signatures of this host.
func (t *transaction) unsigned(ctx context.Context) (io.ReadCloser, error) {
	src, err := t.req.Open(ctx)
	if err != nil || t.req.Signatures == nil {
		return src, err
	}
	r, err := t.req.Signatures.Remove(src)
	if err != nil {
		src.Close()
		return nil, err
	}
	return opened{r, src}, nil
}
