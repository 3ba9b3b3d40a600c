package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// faults collects what is wrong with a Config.
type faults struct{ all *multierror.Error }

func (f *faults) add(field string, err error) {
	f.all = multierror.Append(f.all, &FieldError{Field: field, Err: err})
}

func (f *faults) addf(field, format string, args ...any) {
	f.add(field, fmt.Errorf(format, args...))
}

// join adds what a package found in one field. Its own paths are kept behind
// the field's.
func (f *faults) join(field string, err error) {
	if err == nil {
		return
	}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range list.Unwrap() {
			f.join(field, e)
		}
		return
	}
	if e, ok := errors.AsType[*connector.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else if e, ok := errors.AsType[*domains.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else if e, ok := errors.AsType[*msgauth.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else {
		f.add(field, err)
	}
}

func pathOf(sub string) string {
	if strings.HasPrefix(sub, "[") || sub == "" {
		return sub
	}
	return "." + sub
}

func (f *faults) err() error {
	if f.all == nil {
		return nil
	}
	f.all.ErrorFormat = func(errs []error) string {
		var b strings.Builder
		b.WriteString("relay: the configuration has faults:")
		for _, e := range errs {
			b.WriteString("\n  " + e.Error())
		}
		return b.String()
	}
	return f.all.ErrorOrNil()
}
