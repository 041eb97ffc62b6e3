// Package reference has no code of its own: its tests drive the scalers, losses
// and step rules over public data sets, in float64 and in the order of
// operations of other programs, and compare every metric with the numbers those
// programs print (River 0.25, scikit-learn 1.9) or with those of the papers'
// algorithms.
//
// The order per row, as River's progressive validation has it: predict with the
// scaler as it stands; let the scaler learn the row; scale the row again; take
// the score and the gradient anew; step. The intercept is a weight of its own,
// stepped by plain SGD at its own rate.
//
// The operators themselves, which predict with the scaler that has learnt the
// row, are compared with the same functions in float64 in their own order, and
// their defaults with the defaults of other programs over the same rows.
//
// Not compared are: Vowpal Wabbit's matrix factorization, whose result hangs on the
// random numbers that its factors begin with, and whose ratings may not be passed on
// (matrix_factorization is compared with River instead); its contextual bandits,
// as there is no learner of actions here; its L-BFGS, which is no online method (the
// step rules are compared with the optimum that BFGS finds); and MOA's own
// references over classification.arff and regression.arff, which it does not
// carry along.
package reference
