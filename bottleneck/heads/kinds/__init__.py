"""The kinds of head, a module for each: estimators of scikit-learn's interface."""
