// Package bounce reads what next hops say of mail that they do not take, and
// sorts it into a few classes that an application can act on.
package bounce
