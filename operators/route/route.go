// Package route holds the operators that choose rows and columns.
package route

import "github.com/gradstream/gradstream/operators"

// Family lists the operators of this package.
var Family operators.Family
