// Package learn holds the operators that predict and learn, one row at a time:
// predict, score the prediction when the label is known, then take one step.
package learn

import "github.com/gradstream/gradstream/operators"

// Family lists the operators of this package.
var Family operators.Family
