"""The decision whether to retrain: pure rules over an alert and the model's history."""
