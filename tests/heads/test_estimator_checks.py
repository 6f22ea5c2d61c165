"""scikit-learn's own checks, all of them: none is declared to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from bottleneck.heads import (
    KNeighbors,
    LinearDiscriminant,
    LinearSVC,
    LogisticRegression,
    NearestMean,
    Ridge,
    RidgeClassifier,
)

SKIPPED_BY_SCIKIT_LEARN = {
    "check_array_api_input": "only with SCIPY_ARRAY_API set; these estimators take NumPy arrays",
    "check_classifier_data_not_an_array": "its second half needs pandas, which is not installed",
    "check_regressor_data_not_an_array": "its second half needs pandas, which is not installed",
    "check_sample_weights_pandas_series": "needs pandas, which is not installed",
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        LogisticRegression(threads=1),
        LogisticRegression(standardize=True, class_weight="balanced", threads=1),
        LinearSVC(threads=1),
        RidgeClassifier(threads=1),
        RidgeClassifier(alphas=(0.1, 1.0), standardize=True, threads=1),
        Ridge(threads=1),
        Ridge(alphas=(0.1, 1.0), standardize=True, threads=1),
        LinearDiscriminant(threads=1),
        NearestMean(threads=1),
        KNeighbors(threads=1),
        KNeighbors(metric="euclidean", threads=1),
    ]
)
def test_scikit_learn_checks(estimator, check):
    try:
        check(estimator)
    except pytest.skip.Exception as skip:
        raise AssertionError(f"unexpected: {skip}") from skip
    except Exception as error:
        if type(error).__name__ == "SkipTest":
            name = getattr(check, "func", check).__name__
            pytest.skip(SKIPPED_BY_SCIKIT_LEARN[name])
        raise
