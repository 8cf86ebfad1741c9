"""Being a rotation function of AWS Secrets Manager: createSecret, setSecret, testSecret, finishSecret, without a journal."""
