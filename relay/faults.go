package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-multierror"

	"github.com/postern-mail/postern"
)

// faults collects what is wrong with a Config.
type faults struct{ all *multierror.Error }

func (f *faults) add(field string, err error) {
	f.all = multierror.Append(f.all, &postern.FieldError{Field: field, Err: err})
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
	if e, ok := errors.AsType[*postern.FieldError](err); ok {
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
	return &configError{faults: f.all.WrappedErrors()}
}

// configError holds every fault of a Config.
type configError struct{ faults []error }

// Error returns a heading and a line for each fault.
func (e *configError) Error() string {
	var b strings.Builder
	b.WriteString("relay: the configuration has faults:")
	for _, fault := range e.faults {
		b.WriteString("\n  " + fault.Error())
	}
	return b.String()
}

// Unwrap returns the faults, each a *postern.FieldError.
func (e *configError) Unwrap() []error { return e.faults }
